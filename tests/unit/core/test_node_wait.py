import pytest
from msgspec.structs import replace

from resizer.core.machine import advance
from resizer.core.node_wait import NodeFacts, find_delay
from resizer.core.state import AwaitNode, Enter, Memory, NodeAwaited, Policy, Say, Settle, Started
from resizer.model.objects import Condition, Node, Pod, PodMount
from tests.parity.simulation import EPOCH_S
from tests.unit.core.conftest import CLAIM, VOLUME

PENDING = replace(CLAIM, state="NodeResizePending", allocated="5Gi")
GROWN = replace(VOLUME, capacity="5Gi")
AGENTS = replace(PENDING, node_labels=("csi-resizer.dev/node-1",))
POLICY = Policy(node_timeout_s=300.0, repeat_event_s=3600.0)
POD = Pod("default", "db-0", "pod-1", "1", phase="Running", node="n1", mounts=(PodMount("data"),))
READER = replace(POD, name="reader", mounts=(PodMount("data", read_only=True), PodMount("other")))
HOMELESS = replace(POD, node="", phase="Pending")
READY = {"n1": Node("n1", True, "v1.34.1")}
OLD = {"n1": Node("n1", True, "v1.31.4-gke.100")}
DOWN = {"n1": Node("n1", False, "v1.34.1")}
RIGHT = 'forbidden; add the right: resources: ["pods/status"]'


def failed(message: str, status: str = "True"):
    return replace(PENDING, conditions=(Condition("NodeResizeError", status, message=message),))


IN_USE = failed("rpc error: code = FailedPrecondition desc = volume is mounted")
BROKEN = failed("rpc error: code = Internal desc = resize2fs said no")
AT_WORK = replace(PENDING, state="NodeResizeInProgress")


@pytest.mark.parametrize(
    ("claim", "facts", "cause", "names"),
    [
        (PENDING, NodeFacts(()), "no-pod", "start a pod"),
        (PENDING, NodeFacts((replace(POD, phase="Succeeded"),)), "no-pod", "no pod uses the claim"),
        (IN_USE, NodeFacts(()), "no-pod", "start a pod"),
        (PENDING, NodeFacts((READER,), READY), "read-only", "(reader)"),
        (PENDING, NodeFacts((HOMELESS, READER), READY), "not-scheduled", "-n default describe pod db-0"),
        (PENDING, NodeFacts((POD,), DOWN), "node-not-ready", "node n1 is not Ready"),
        (PENDING, NodeFacts((POD,), {"n1": None}), "node-not-ready", "node n1 is not in the cluster any more"),
        (PENDING, NodeFacts((POD,), OLD), "kubelet-too-old", "n1 has v1.31.4-gke.100"),
        (IN_USE, NodeFacts((POD,), READY), "in-use", "stop the pods that use it on node n1"),
        (failed("x: FAILED_PRECONDITION"), NodeFacts(None), "in-use", "on its node"),
        (BROKEN, NodeFacts((POD,), READY, RIGHT), "node-error", "resize2fs said no"),
        (failed(""), NodeFacts((POD,)), "node-error", "no reason given"),
        (PENDING, NodeFacts((POD,), READY, RIGHT), "nudge-refused", RIGHT),
        (failed("long past", "False"), NodeFacts((POD,), READY), "slow", "kubelet on n1 has not begun"),
        (PENDING, NodeFacts((POD,)), "slow", "has not begun"),
        (PENDING, NodeFacts((POD,), {"n1": Node("n1", True, "nonsense")}), "slow", "has not begun"),
        (
            PENDING,
            NodeFacts((replace(POD, phase="Pending"),), READY),
            "pod-not-running",
            "db-0 is on node n1 but does not run",
        ),
        (AT_WORK, NodeFacts((POD,), READY), "slow", "is growing the filesystem"),
        (AGENTS, NodeFacts((POD,), OLD, RIGHT), "slow", "node agent on n1"),
        (PENDING, NodeFacts(None), "slow", 'resources: ["pods"], verbs: ["get", "list", "watch"]'),
    ],
)
def test_the_first_thing_in_the_way_is_named_with_the_next_step(claim, facts, cause, names):
    """Every cause by what alone gives rise to it, in one sentence that names the object; unknown is never blamed."""
    delay = find_delay(claim, facts)
    assert delay.cause == cause
    assert names in delay.message
    assert len(delay.message) < 1024


def test_one_node_that_can_grow_the_volume_is_enough():
    """Of several nodes with the claim, one that is gone or old does not count while another may act."""
    away = replace(POD, name="db-1", node="n2")
    for bad in (None, Node("n2", False, "v1.34.0"), Node("n2", True, "v1.30.0")):
        assert find_delay(PENDING, NodeFacts((POD, away), READY | {"n2": bad})).cause == "slow"
        assert find_delay(PENDING, NodeFacts((POD, away), {"n2": bad})).cause == "slow"
    assert find_delay(PENDING, NodeFacts((POD, away), OLD | {"n2": None})).cause == "kubelet-too-old"


def test_a_block_volume_is_called_one_and_many_pods_are_not_all_listed():
    """The sentence fits the volume, and stays short however many pods there are."""
    readers = tuple(replace(READER, name=f"reader-{i}") for i in range(9))
    message = find_delay(PENDING, NodeFacts(readers), volume_mode="Block").message
    assert "block device" in message
    assert "reader-0, reader-1, reader-2 and 6 more" in message


def test_a_hostile_message_of_a_node_stays_one_short_line():
    """What a driver said is shown escaped and cut."""
    message = find_delay(failed("\x1b[2J\n" + "x" * 5000), NodeFacts((POD,), READY)).message
    assert len(message) < 1024
    assert "\x1b" not in message
    assert "\n" not in message


def waiting(since_s: float = 0.0, **fields) -> Memory:
    fields = {"phase": "node-resize", "target_bytes": 5 << 30, "granted_wall_s": EPOCH_S + since_s} | fields
    return Memory(**fields)


def test_the_node_is_asked_after_when_its_time_is_over_and_not_before(snapshot):
    """Until then nothing but the moment is handed on; from then on the metric keeps its class while it is found out."""
    early = advance(snapshot(PENDING, GROWN, mono_s=60.0), waiting(), Started(), POLICY)
    assert early.effect == AwaitNode(EPOCH_S, is_begun=False, late_after_s=240.0)
    assert early.notes == (Enter("node-resize", "", EPOCH_S),)
    late = advance(snapshot(PENDING, GROWN, mono_s=300.0), waiting(), Started(), POLICY)
    assert late.effect == AwaitNode(EPOCH_S, is_begun=False, late_after_s=0.0)
    assert late.notes == ()


@pytest.mark.parametrize(("pods", "type_", "cause"), [((), "Normal", "no-pod"), ((READER,), "Warning", "read-only")])
def test_a_delay_is_said_once_and_again_after_an_hour(snapshot, pods, type_, cause):
    """Each look gives the metric its class; the event comes with the first and after an hour. No pod is no fault."""
    at = NodeAwaited(None, NodeFacts(pods))
    first = advance(snapshot(PENDING, GROWN, mono_s=300.0), waiting(), at, POLICY)
    entered = Enter("node-resize", cause, EPOCH_S)
    said = Say(type_, "NodeResizeDelayed", find_delay(PENDING, NodeFacts(pods)).message)
    assert first.notes == (entered, said)
    assert first.effect == Settle("waiting-for-node", 300.0, said.message)
    second = advance(snapshot(PENDING, GROWN, mono_s=600.0), first.memory, at, POLICY)
    assert second.notes == (entered,)
    assert (first.effect.is_news, second.effect.is_news) == (True, False)
    third = advance(snapshot(PENDING, GROWN, mono_s=3900.0), second.memory, at, POLICY)
    assert third.notes == (entered, said)


def test_a_node_has_its_whole_time_again_once_what_kept_it_is_mended(snapshot):
    """A pod that starts after hours is no slow node; one that has had five minutes since is."""
    kept = advance(snapshot(PENDING, GROWN, mono_s=900.0), waiting(), NodeAwaited(None, NodeFacts(())), POLICY)
    at = NodeAwaited(5.0, NodeFacts((POD,), READY))
    mended = advance(snapshot(PENDING, GROWN, mono_s=910.0), kept.memory, at, POLICY)
    assert mended.notes == (Enter("node-resize", "", EPOCH_S),)
    assert mended.effect == Settle("waiting-for-node", 5.0)
    slow = advance(snapshot(PENDING, GROWN, mono_s=1200.0), mended.memory, at, POLICY)
    assert slow.notes[0] == Enter("node-resize", "slow", EPOCH_S)
    assert slow.notes[1].reason == "NodeResizeDelayed"


def test_nothing_is_said_of_a_claim_that_was_grown_meanwhile(snapshot):
    """Finding out takes a moment: who has finished in it is not called late."""
    grown = replace(CLAIM, capacity="5Gi")
    step = advance(snapshot(grown, GROWN, mono_s=300.0), waiting(), NodeAwaited(None, NodeFacts(())), POLICY)
    assert step.notes == ()
    assert step.effect == Settle("waiting-for-node", None)
    step = advance(snapshot(PENDING, None, mono_s=300.0), waiting(), NodeAwaited(None, NodeFacts(())), POLICY)
    assert step.notes == ()


def test_a_short_time_does_not_make_for_a_busy_loop(snapshot):
    """However short the node's time is set, it is looked after once a second at most."""
    hasty = Policy(node_timeout_s=0.0)
    step = advance(snapshot(PENDING, GROWN), waiting(), NodeAwaited(None, NodeFacts(())), hasty)
    assert step.effect.requeue_after_s == 1.0
