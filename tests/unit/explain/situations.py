"""Builders: a claim that grows from 300Gi to 400Gi with nothing in its way, and what a test changes of it."""

from msgspec.structs import replace

from resizer.explain.facts import ClassFacts, DriverObjects, EventFacts, Facts, Lease
from resizer.model.objects import Attachment, Claim, Condition, Node, Pod, PodMount, Volume

NOW = 1_800_000_000.0
NOW_TEXT = "2027-01-15T08:00:00Z"
SINCE = "2027-01-15T07:50:00Z"
DRIVER = "csi-qcfsplugin"
RESIZING = Condition("Resizing", "True", last_transition_time=SINCE)


def claim(**changes):
    made = Claim(
        namespace="db",
        name="data-0",
        uid="u1",
        version="7",
        phase="Bound",
        volume_name="pv-1",
        storage_class="csi-qcfs",
        requested="400Gi",
        capacity="300Gi",
        allocated="400Gi",
        state="ControllerResizeInProgress",
        conditions=(RESIZING,),
    )
    return replace(made, **changes)


def volume(**changes):
    made = Volume(
        name="pv-1",
        uid="v1",
        version="7",
        capacity="300Gi",
        claim_namespace="db",
        claim_name="data-0",
        claim_uid="u1",
        driver=DRIVER,
        handle="h",
    )
    return replace(made, **changes)


def pod(**changes):
    made = Pod("db", "mysql-0", "p1", "7", phase="Running", node="node-1", mounts=(PodMount("data-0"),))
    return replace(made, **changes)


def failed(message, *, at_s=NOW - 60, count=1):
    text = f'resize volume "pv-1" by resizer "{DRIVER}" failed: {message}'
    return EventFacts("Warning", "VolumeResizeFailed", text, at_s, count)


def rpc(code, said):
    return failed(f"rpc error: code = {code} desc = {said}")


def lease(**changes):
    return replace(Lease("kube-system", "external-resizer-csi-qcfsplugin", "resizer-abc", NOW - 2, 8.0), **changes)


def facts(**changes):
    made = Facts(
        claim=claim(),
        volume=volume(),
        now_s=NOW,
        storage_class=ClassFacts("csi-qcfs", allows_growth=True),
        driver=DriverObjects(is_declared=True, nodes=frozenset({"node-1"})),
        leases=(lease(),),
        quotas=(),
        pods=(pod(),),
        attachments=(Attachment("a", "7", volume_name="pv-1", node="node-1", attached=True),),
        nodes={"node-1": Node("node-1", True, "v1.36.0")},
        events=(),
    )
    return replace(made, **changes)


def at_the_node(**changes):
    """The back-end has grown: it is the node's turn."""
    waiting = claim(state="NodeResizePending", conditions=(Condition("FileSystemResizePending", "True"),))
    return replace(facts(claim=waiting, volume=volume(capacity="400Gi")), **changes)
