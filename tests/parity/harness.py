"""Plays recorded cases through the whole program: API server, watches, queues, stages, gRPC, a scripted driver.

All cases stand in one API server under names of their own and are worked on together; the answers of the one driver
(and of one with node expansion only) are scripted by volume. Back-off runs `SPEEDUP` times as fast as it was recorded.
A state is read when no claim and no volume has been written for longer than the longest back-off: whatever was still
to come would have come by then. The outcome has the recording's own form.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from resizer.devcluster.apiserver.failure import ApiError
from tests.component.pipeline.rig import NAMESPACE, Document, Rig, claim_body, pod_body, running_rig, volume_body
from tests.parity.differences import Difference, Expectation, expect
from tests.parity.recorded import DRIVER, RETRY_MAX_S, RETRY_START_S, Case, count_label, distinct
from tests.scripted_driver import NODE_ONLY, Answer, Call, Plan

SPEEDUP = 25.0
QUIET_S = 2.0 * RETRY_MAX_S / SPEEDUP
NODE_ONLY_DRIVER = "node-only.csi.test"
EXPAND = "ControllerExpandVolume"
SECRET, MISSING_SECRET = "expand", "nowhere"
BOUND = ("claim", "volume", "calls")


@dataclass(frozen=True)
class Played:
    """Where a case ended with us. `gaps_s`: real seconds between its calls."""

    case: Case
    outcome: dict[str, Any]
    count: int | str
    events: frozenset[str]
    gaps_s: tuple[float, ...]

    def disagreements(self, expected: Expectation) -> list[str]:
        """What differs from what is expected, a line each."""
        wanted = {**expected.outcome, "calls": distinct(self.case.result["calls"]["first_to_last"])}
        return [
            f"{self.case.label}: {key}: expected {wanted[key]}, ours {self.outcome[key]}"
            for key in BOUND
            if self.outcome[key] != wanted[key]
        ]

    def needs(self, difference: Difference) -> bool:
        """Whether this case would not agree without this difference."""
        if difference.patience_s and len(self.gaps_s) > 0:
            # The second call came as late as the difference says: one slow window, not one back-off.
            return self.gaps_s[0] >= 0.9 * difference.patience_s / SPEEDUP
        return bool(self.disagreements(expect(self.case, without=difference.number)))


def name_of(case: Case) -> str:
    """The case's claim."""
    return f"{case.file}-{case.id}"


SETTINGS = {
    "retry_interval_start": f"{RETRY_START_S / SPEEDUP * 1000:.0f}ms",
    "retry_interval_max": f"{RETRY_MAX_S / SPEEDUP * 1000:.0f}ms",
}


async def play_through(
    cases: Sequence[Case], folder: Path, *, disturb: Callable[[Rig], Awaitable[None]] | None = None
) -> list[Played]:
    """Play all these cases at once, in a second for every hundred. `disturb` does harm, and mends it, at the start."""
    answers = {f"{EXPAND}/h-{name_of(case)}": _answers(case) for case in cases}
    plans = (Plan(name=DRIVER, answers=answers), Plan(**_fields(NODE_ONLY) | {"name": NODE_ONLY_DRIVER}))
    async with running_rig(folder, *plans) as rig:
        rig.create("secrets", {"metadata": {"name": SECRET, "namespace": NAMESPACE}, "stringData": _secret(cases)})
        for case in cases:
            _seed(rig, case)
        rig.start(**SETTINGS)
        await rig.wait(lambda: has_begun(rig))
        if disturb is not None:
            await disturb(rig)
        await rig.wait_quiet(QUIET_S)
        for round_ in range(max((len(case.scenario.get("then", ())) for case in cases), default=0)):
            for case in cases:
                sizes = case.scenario.get("then", ())
                if round_ < len(sizes):
                    rig.ask(f"{sizes[round_]}Gi", name_of(case))
            await rig.wait_quiet(QUIET_S)
        await rig.stop()  # sends the last events
        calls: dict[str, list[Call]] = {}
        for call in rig.drivers[0].calls_of(EXPAND) + rig.drivers[1].calls_of(EXPAND):
            calls.setdefault(call.request["volume_id"], []).append(call)
        events = _events(rig)
        return [_read(rig, case, calls.get(f"h-{name_of(case)}", []), events) for case in cases]


def has_begun(rig: Rig) -> bool:
    """Whether both drivers are served and all claims and volumes are read."""
    read = {line["resource"] for line in rig.logged("watch.synced")}
    return len(rig.logged("group.started")) == 2 and read >= {"persistentvolumeclaims", "persistentvolumes"}


def _fields(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__struct_fields__}


def _secret(cases: Sequence[Case]) -> dict[str, str]:
    return next((case.scenario["secret"] for case in cases if "secret" in case.scenario), {})


def _answers(case: Case) -> tuple[Answer, ...]:
    answer = case.scenario.get("answer", {})
    return tuple(
        Answer(
            code=code,
            message="" if code == "OK" else "scripted",
            node_expansion_required=answer.get("node", True),
            capacity_bytes=answer.get("capacity"),
        )
        for code in answer.get("codes", ["OK"])
    )


def _driver(case: Case) -> str:
    return NODE_ONLY_DRIVER if case.node_only else DRIVER


def _seed(rig: Rig, case: Case) -> None:
    scenario, name = case.scenario, name_of(case)
    annotations = {key: value.replace("DRIVER", _driver(case)) for key, value in scenario.get("ann", {}).items()}
    body = claim_body(name, requested=case.size("spec"), annotations=annotations)
    body["spec"]["volumeMode"] = scenario.get("mode", "Filesystem")
    uid = rig.create("persistentvolumeclaims", body)["metadata"]["uid"]
    _set_status(rig, case)
    if not scenario.get("no_pv"):
        rig.create("persistentvolumes", _volume(case, uid))
    if "pod" in scenario:
        rig.create("pods", pod_body(f"pod-{name}", name))
        phase = scenario["pod"]
        rig.patch("pods", f"pod-{name}", lambda doc: doc["status"].update(phase=phase), subresource="status")


def _set_status(rig: Rig, case: Case) -> None:
    scenario, name = case.scenario, name_of(case)
    status: Document = {"phase": scenario.get("phase", "Bound"), "capacity": {"storage": case.size("status")}}
    if "alloc" in scenario:
        status["allocatedResources"] = {"storage": case.size("alloc")}
    if "state" in scenario:
        status["allocatedResourceStatuses"] = {"storage": scenario["state"]}
    if "conditions" in scenario:
        status["conditions"] = scenario["conditions"]
    try:
        rig.set_status(name, status)
    except ApiError:
        # A state that the API refuses today but may hold from earlier: past its rules into the store.
        collection = rig.server.store.named("persistentvolumeclaims")
        rig.server.store.put(collection, (NAMESPACE, name), {**rig.claim(name), "status": status})


def _volume(case: Case, uid: str) -> Document:
    scenario, name = case.scenario, name_of(case)
    driver = scenario.get("driver", _driver(case))
    body = volume_body(name, capacity=case.size("pv"), driver=driver, uid=scenario.get("claim_uid", uid))
    spec = body["spec"]
    body["metadata"]["annotations"] = dict(scenario.get("pv_ann", {}))
    spec["accessModes"] = scenario.get("modes", spec["accessModes"])
    spec["volumeMode"] = scenario.get("mode", "Filesystem")
    spec["csi"]["fsType"] = "" if spec["volumeMode"] == "Block" else scenario.get("fs", "ext4")
    if "mount" in scenario:
        spec["mountOptions"] = scenario["mount"]
    if "secret" in scenario or scenario.get("secret_missing"):
        secret = MISSING_SECRET if scenario.get("secret_missing") else SECRET
        spec["csi"]["controllerExpandSecretRef"] = {"name": secret, "namespace": NAMESPACE}
    if "source" in scenario:
        del spec["csi"]
        spec.update(scenario["source"])
    if "claim_ns" in scenario:
        spec["claimRef"]["namespace"] = scenario["claim_ns"]
    if scenario.get("no_claimref"):
        del spec["claimRef"]
    return body


def _read(rig: Rig, case: Case, calls: list[Call], events: dict[str, set[str]]) -> Played:
    name = name_of(case)
    claim, status = rig.claim(name), rig.claim(name)["status"]
    annotations = {
        # Recorded under the one driver's name.
        key: value.replace(_driver(case), DRIVER)
        for key, value in claim["metadata"].get("annotations", {}).items()
    }
    outcome = {
        "claim": {
            "phase": status["phase"],
            "capacity": status.get("capacity", {}).get("storage"),
            "allocated": status.get("allocatedResources", {}).get("storage"),
            "state": status.get("allocatedResourceStatuses", {}).get("storage"),
            "conditions": sorted(f"{c['type']}={c['status']}" for c in status.get("conditions", ())),
            "annotations": annotations,
        },
        "volume": None
        if case.scenario.get("no_pv")
        else {
            "capacity": rig.volume(name)["spec"]["capacity"]["storage"],
            "annotations": rig.volume(name)["metadata"].get("annotations", {}),
        },
        "calls": distinct([_call(call) for call in calls]),
    }
    gaps_s = tuple(later.at - earlier.at for earlier, later in pairwise(calls))
    return Played(case, outcome, count_label(len(calls)), frozenset(events.get(name, ())), gaps_s)


def _call(call: Call) -> list[Any]:
    """The call in the recording's form: bytes, access mode, access type, fs type, mount flags, secrets."""
    request = call.request
    capability = request["volume_capability"]
    mount = capability.get("mount", {})
    return [
        int(request["capacity_range"]["required_bytes"]),
        capability["access_mode"]["mode"],
        "block" if "block" in capability else "mount",
        mount.get("fs_type", ""),
        mount.get("mount_flags", []),
        request.get("secrets", {}),
    ]


def _events(rig: Rig) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for version in rig.server.store.named("events").objects.values():
        doc = version.document()
        about = doc.get("regarding") or doc["involvedObject"]
        found.setdefault(about["name"], set()).add(f"{doc['type']}/{doc['reason']}")
    return found
