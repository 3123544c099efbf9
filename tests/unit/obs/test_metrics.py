from typing import get_args

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from resizer.kube.telemetry import DropReason
from resizer.model.driver import DriverFacts
from resizer.model.errors import ConflictError, DriverError
from resizer.model.objects import NODE_RESIZE_INFEASIBLE
from resizer.obs.label import CLASSES, class_label
from resizer.obs.metrics import Metrics
from resizer.obs.metrics_queue import QueueMetrics
from resizer.obs.metrics_resize import BUCKETS, OVERDUE_S
from tests.component.obs.obs_sample import DRIVER, claim


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    made = Metrics(CollectorRegistry(), now=clock)
    made.add_driver(DRIVER)
    return made


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_stage_is_counted_from_start_to_end(metrics):
    """In flight goes up and down; outcome and class are counted."""
    metrics.stages.stage_started(driver=DRIVER, stage="controller-resize")
    assert value(metrics, "resizer_stage_inflight", driver=DRIVER, stage="controller-resize") == 1
    metrics.stages.stage_finished(driver=DRIVER, stage="controller-resize", outcome="failure", duration_s=2.0)
    metrics.stages.stage_failed(driver=DRIVER, stage="controller-resize", class_="quota")
    assert value(metrics, "resizer_stage_inflight", driver=DRIVER, stage="controller-resize") == 0
    labels = {"driver": DRIVER, "stage": "controller-resize"}
    assert value(metrics, "resizer_stage_duration_seconds_sum", outcome="failure", **labels) == 2.0
    assert value(metrics, "resizer_stage_failures_total", **labels, **{"class": "quota"}) == 1


def test_pending_claims_are_seen_and_forgotten(metrics, clock):
    """A claim has one series in its present phase, ages by the clock, and leaves nothing when settled."""
    metrics.resizes.resize_phase(claim(), driver=DRIVER, phase="controller-resize", class_="transient", since=900.0)
    metrics.resizes.resize_phase(claim(), driver=DRIVER, phase="node-resize", class_="", since=950.0)
    clock.now = 1010.0
    named = {"namespace": "db", "persistentvolumeclaim": "data-0", "driver": DRIVER, "phase": "node-resize"}
    since = "resizer_claim_pending_since_timestamp_seconds"
    assert value(metrics, since, **named, **{"class": "none"}) == 950.0
    assert value(metrics, "resizer_resizes_pending", driver=DRIVER, phase="node-resize") == 1
    assert value(metrics, "resizer_resizes_pending", driver=DRIVER, phase="controller-resize") == 0
    assert value(metrics, "resizer_oldest_pending_seconds", driver=DRIVER, phase="node-resize") == 60.0
    metrics.resizes.resize_settled(claim(), driver=DRIVER)
    assert value(metrics, since, **named, **{"class": "none"}) is None
    assert value(metrics, "resizer_oldest_pending_seconds", driver=DRIVER, phase="node-resize") == 0


def overdue(metrics: Metrics, phase: str, class_: str) -> float | None:
    return value(metrics, "resizer_resizes_overdue_total", driver=DRIVER, phase=phase, **{"class": class_})


def test_a_resize_is_overdue_once_a_phase(metrics, clock):
    """What stays in a phase for more than 120 s is counted once, with its class then, scraped or not."""
    resizes, asked = metrics.resizes, clock.now
    resizes.resize_phase(claim(), driver=DRIVER, phase="controller-resize", class_="transient", since=asked)
    clock.now = asked + OVERDUE_S
    assert overdue(metrics, "controller-resize", "transient") == 0
    clock.now += 1
    assert [overdue(metrics, "controller-resize", "transient") for _ in range(2)] == [1, 1]
    resizes.resize_phase(claim(), driver=DRIVER, phase="controller-resize", class_="quota", since=asked)
    assert overdue(metrics, "controller-resize", "quota") == 0
    resizes.resize_phase(claim(), driver=DRIVER, phase="node-resize", class_="", since=clock.now)
    clock.now += OVERDUE_S + 1
    resizes.resize_settled(claim(), driver=DRIVER)
    assert overdue(metrics, "node-resize", "none") == 1
    assert overdue(metrics, "controller-resize", "transient") == 1


def test_what_was_overdue_before_this_process_is_not_counted_again(metrics, clock):
    """A new leader finds old claims: the one before it has counted them."""
    metrics.resizes.resize_phase(claim(), driver=DRIVER, phase="controller-resize", class_="", since=clock.now - 3600)
    assert overdue(metrics, "controller-resize", "none") == 0


def test_the_objective_is_a_bucket():
    """How many were in time is read from the histogram: its buckets have to have that edge."""
    assert OVERDUE_S in BUCKETS


def test_a_refusal_of_the_node_is_shown_at_the_node(metrics):
    """While the controller verifies a size that the node refused, the claim is pending at the node."""
    refused = replace(claim(), state=NODE_RESIZE_INFEASIBLE)
    metrics.resizes.resize_phase(refused, driver=DRIVER, phase="controller-resize", class_="", since=900.0)
    since = "resizer_claim_pending_since_timestamp_seconds"
    named = {"namespace": "db", "persistentvolumeclaim": "data-0", "driver": DRIVER, "phase": "node-resize"}
    assert value(metrics, since, **named, **{"class": "node-error"}) == 900.0


def test_sizes_of_pending_claims(metrics):
    """A pending claim shows its sizes, one series each, and a claim made again under its name no second one."""
    new = replace(claim(), uid="another", allocated="")
    metrics.resizes.resize_phase(new, driver=DRIVER, phase="controller-resize", class_="", since=990.0)
    named = {"namespace": "db", "persistentvolumeclaim": "data-0"}
    assert value(metrics, "resizer_claim_size_bytes", **named, size="requested") == 5 << 30
    assert value(metrics, "resizer_claim_size_bytes", **named, size="allocated") is None
    metrics.resizes.resize_phase(claim(), driver=DRIVER, phase="node-resize", class_="", since=900.0)
    sizes = [
        sample
        for family in metrics.registry.collect()
        for sample in family.samples
        if family.name == "resizer_claim_size_bytes"
    ]
    assert [(s.labels["size"], s.value / (1 << 30)) for s in sizes] == [
        ("requested", 5),
        ("allocated", 4),
        ("capacity", 3),
    ]
    for gone in (new, claim()):
        metrics.resizes.resize_settled(gone, driver=DRIVER)
    assert value(metrics, "resizer_claim_size_bytes", **named, size="requested") is None


def test_followers_export_nothing_pending(metrics):
    """A replica that lost its lease drops what it knew as pending, and takes up again when it leads."""
    metrics.resizes.resize_phase(claim(), driver=DRIVER, phase="node-resize", class_="", since=950.0)
    metrics.resizes.follow_retries(driver=DRIVER, next_retry=lambda: 1.0)
    assert value(metrics, "resizer_next_retry_seconds", driver=DRIVER) == 1.0
    metrics.resizes.set_active(DRIVER, active=False)
    for name in ("resizer_resizes_pending", "resizer_oldest_pending_seconds"):
        assert value(metrics, name, driver=DRIVER, phase="node-resize") is None
    assert value(metrics, "resizer_next_retry_seconds", driver=DRIVER) is None
    metrics.resizes.set_active(DRIVER, active=True)
    assert value(metrics, "resizer_resizes_pending", driver=DRIVER, phase="node-resize") == 0


def test_a_finished_resize(metrics):
    """Outcome, durations by phase and bytes are counted."""
    metrics.resizes.resize_finished(
        driver=DRIVER, outcome="success", class_="", duration_s={"total": 3.0, "node-resize": 1.0}, grown_bytes=5
    )
    assert value(metrics, "resizer_resizes_total", driver=DRIVER, outcome="success", **{"class": "none"}) == 1
    assert value(metrics, "resizer_resize_duration_seconds_sum", driver=DRIVER, phase="total") == 3.0
    assert value(metrics, "resizer_bytes_grown_total", driver=DRIVER) == 5


def test_the_next_retry_is_asked_at_each_scrape(metrics):
    """It counts down, and has no series while nothing waits."""
    delays_s = [4.0, None, 0.0]
    metrics.resizes.follow_retries(driver=DRIVER, next_retry=lambda: delays_s.pop(0))
    assert [value(metrics, "resizer_next_retry_seconds", driver=DRIVER) for _ in range(3)] == [4.0, None, 0.0]


def test_labels_are_bounded(metrics):
    """Outcomes, phases and classes nobody has heard of become "other": no text can add series."""

    def series() -> int:
        return sum(len(family.samples) for family in metrics.registry.collect())

    before = series()
    for number in range(1000):
        text = f"surprise {number}"
        metrics.stages.stage_failed(driver=DRIVER, stage="node-resize", class_=text)
        metrics.stages.stage_finished(driver=DRIVER, stage="node-resize", outcome=text, duration_s=0)
        metrics.resizes.resize_finished(driver=DRIVER, outcome=text, class_=text, duration_s={text: 1}, grown_bytes=0)
        metrics.kube.watch_restarted(resource="claims", reason=text)
    assert series() - before < 50


def test_classes_of_errors():
    """An API error's type is a class of its own; the core's classes stay; nothing else gets through."""
    assert class_label(ConflictError.__name__) == "api-conflict" == class_label("conflict")
    assert class_label("offline-required") == "offline-required"
    assert class_label(DriverError.__name__) == "other"
    assert class_label("") == "none"
    assert len(CLASSES) < 40


class Load:
    name = "q"

    def __init__(self) -> None:
        self.waiting = 0
        self.working_s: list[float] = []

    def depth(self) -> int:
        return self.waiting

    def ages_s(self) -> list[float]:
        return self.working_s


def test_a_queue_is_asked_at_each_scrape():
    """What waits and what is in work is that of the queue that bears the name now, and zero before there is one."""
    registry = CollectorRegistry()
    metrics, load = QueueMetrics(registry), Load()
    metrics.add_queue("q")

    def now() -> tuple[float | None, ...]:
        names = "depth", "unfinished_work_seconds", "longest_running_processor_seconds"
        return tuple(registry.get_sample_value(f"workqueue_{name}", {"name": "q"}) for name in names)

    assert now() == (0, 0, 0)
    metrics.follow(load)
    load.waiting, load.working_s = 2, [15.0, 5.0]
    assert now() == (2, 20, 15)
    metrics.follow(Load())
    assert now() == (0, 0, 0)
    metrics.added(name="q")
    metrics.done(name="q", worked_s=5)
    assert registry.get_sample_value("workqueue_adds_total", {"name": "q"}) == 1
    assert registry.get_sample_value("workqueue_work_duration_seconds_sum", {"name": "q"}) == 5


def test_connections_have_one_series_an_address(metrics):
    """A socket's series carries its driver once that is known, and never two drivers at a time."""
    csi = metrics.csi
    csi.driver_disconnected(address="a", driver="")
    assert value(metrics, "resizer_driver_connected", driver="", address="a") == 0
    csi.driver_connected(address="a", facts=DriverFacts(name="one", modify_volume=True))
    assert value(metrics, "resizer_driver_connected", driver="", address="a") is None
    assert value(metrics, "resizer_driver_connected", driver="one", address="a") == 1
    assert value(metrics, "resizer_driver_capability", driver="one", capability="modify-volume") == 1
    assert value(metrics, "resizer_stage_retries_total", driver="one", stage="node-resize") == 0
    csi.driver_disconnected(address="a", driver="one")
    assert value(metrics, "resizer_driver_connected", driver="one", address="a") == 0


def test_watches_are_counted_but_not_timed(metrics):
    """A watch that lasted ten minutes is no slow request."""
    metrics.kube.request_finished(verb="watch", resource="claims", code="200", duration_s=600)
    metrics.kube.request_finished(verb="update", resource="leases", code="<error>", duration_s=1)
    assert value(metrics, "rest_client_requests_total", code="200", method="GET", host="") == 1
    assert value(metrics, "rest_client_request_duration_seconds_count", verb="GET", host="") is None
    assert value(metrics, "rest_client_request_duration_seconds_count", verb="PUT", host="") == 1


def test_losses_are_seen_from_the_first_one(metrics):
    """Unreadable objects, dropped events and broken watches have series at zero before anything is lost."""
    assert value(metrics, "resizer_objects_malformed_total", resource="persistentvolumeclaims") == 0
    assert value(metrics, "resizer_watch_restarts_total", resource="persistentvolumes", reason="expired") == 0
    for reason in get_args(DropReason):
        assert value(metrics, "resizer_events_dropped_total", reason=reason) == 0
    metrics.kube.event_dropped(reason="rate")
    assert value(metrics, "resizer_events_dropped_total", reason="rate") == 1
