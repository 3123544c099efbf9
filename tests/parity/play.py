"""Plays a recorded case through the core alone, and writes down the outcome in the recording's own form."""

from typing import Any

from resizer.core.pacing import Limits
from resizer.core.state import CallDriver, Policy, Users
from resizer.core.verdict import Failure, classify, not_called
from resizer.csi.volume_capability import capability_of
from resizer.model.driver import DriverFacts, Expansion
from resizer.model.errors import NotCalledError
from resizer.model.objects import (
    NODE_EXPANSION_NOT_REQUIRED,
    PRE_RESIZE_CAPACITY,
    RETRY,
    STORAGE_RESIZER,
    Claim,
    Condition,
    Volume,
)
from tests.parity.recorded import DRIVER, RETRY_MAX_S, RETRY_START_S, Case, count_label, distinct
from tests.parity.simulation import Answer, Simulation

UID = "00000000-0000-4000-8000-000000000001"


def play(case: Case, *, patience_s: float = 0.0, dies_after: int = 0) -> tuple[dict[str, Any], Simulation]:
    """Play the case; return the outcome and the world it left. `patience_s`: read that much later.

    `dies_after`: the process is killed after so many writes and calls, and another one goes on.
    """
    scenario = case.scenario
    facts = DriverFacts(DRIVER, controller_expansion=not case.node_only)
    world = Simulation(
        claim=_claim(case),
        volume=None if scenario.get("no_pv") else _volume(case),
        driver=facts,
        answer=_answer(case),
        policy=Policy(Limits(RETRY_START_S, RETRY_MAX_S)),
        users=Users(running_pod=scenario.get("pod") == "Running"),
        dies_after=dies_after,
    )
    world.appear()
    until_s = case.read_after_s + patience_s
    world.run_until(until_s)
    for size in scenario.get("then", ()):
        until_s += case.read_after_s
        world.change(requested=f"{size}Gi")
        world.run_until(until_s)
    return _outcome(world), world


def _claim(case: Case) -> Claim:
    scenario = case.scenario
    annotations = {key: value.replace("DRIVER", DRIVER) for key, value in scenario.get("ann", {}).items()}
    return Claim(
        "default",
        "data",
        UID,
        "1",
        phase=scenario.get("phase", "Bound"),
        volume_name="pv",
        requested=case.size("spec"),
        capacity=case.size("status"),
        allocated=case.size("alloc"),
        state=scenario.get("state", ""),
        conditions=tuple(
            Condition(c["type"], c["status"], message=c.get("message", "")) for c in scenario.get("conditions", ())
        ),
        storage_resizer=annotations.get(STORAGE_RESIZER, ""),
        node_expansion_not_required=annotations.get(NODE_EXPANSION_NOT_REQUIRED) == "true",
    )


def _volume(case: Case) -> Volume:
    scenario = case.scenario
    bound = not scenario.get("no_claimref")
    # The projection of an in-tree volume carries its translated driver, here never ours.
    driver = "pd.csi.storage.gke.io" if "source" in scenario else scenario.get("driver", DRIVER)
    return Volume(
        "pv",
        "pv-uid",
        "1",
        capacity=case.size("pv"),
        claim_namespace=scenario.get("claim_ns", "default") if bound else "",
        claim_name="data" if bound else "",
        claim_uid=scenario.get("claim_uid", UID) if bound else "",
        driver=driver,
        handle="h",
        access_modes=tuple(scenario.get("modes", ("ReadWriteOnce",))),
        pre_resize_capacity=scenario.get("pv_ann", {}).get(PRE_RESIZE_CAPACITY),
    )


def _answer(case: Case) -> Answer:
    """The driver's script; what ends an attempt before the driver (secret, access mode) is not the core's to find."""
    answer = case.scenario.get("answer", {})
    codes = answer.get("codes", ["OK"])

    def respond(call: CallDriver, number: int) -> Expansion | Failure:
        if case.scenario.get("secret_missing"):
            return not_called("error getting secret expand in namespace default: not found")
        try:
            capability_of(_volume(case), single_node_multi_writer=True)
        except NotCalledError as error:
            return not_called(str(error))
        code = codes[min(number, len(codes) - 1)]
        if code == "OK":
            return Expansion(answer.get("capacity", call.target.size_bytes), answer.get("node", True))
        return classify(code, "scripted")

    return respond


def _outcome(world: Simulation) -> dict[str, Any]:
    claim, volume = world.claim, world.volume
    assert claim is not None
    annotations = {
        NODE_EXPANSION_NOT_REQUIRED: "true" if claim.node_expansion_not_required else "",
        STORAGE_RESIZER: claim.storage_resizer,
        RETRY: claim.retry,
    }
    return {
        "claim": {
            "phase": claim.phase,
            "capacity": claim.capacity or None,
            "allocated": claim.allocated or None,
            "state": claim.state or None,
            "conditions": sorted(f"{c.type}={c.status}" for c in claim.conditions),
            "annotations": {key: value for key, value in annotations.items() if value},
        },
        "volume": volume
        and {
            "capacity": volume.capacity,
            "annotations": {}
            if volume.pre_resize_capacity is None
            else {PRE_RESIZE_CAPACITY: volume.pre_resize_capacity},
        },
        "calls": distinct([call.target.size_bytes for call in world.calls]),
        "count": count_label(len(world.calls)),
        "events": sorted({f"{say.type_}/{say.reason}" for say in world.events}),
    }
