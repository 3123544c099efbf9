"""The rows of the table: what is measured, by which benchmark, and the goal of each."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

Sign = Literal["<=", "<", ">="]
_KEEPS: Final = 0.05
"""Part by which the figures of two commits may differ and count as the same."""


class Row(Struct, frozen=True):
    """One row. `key` names the figure in JSON and history; a row without a goal is there for information."""

    key: str
    benchmark: str
    title: str
    unit: str
    goal: float | None = None
    sign: Sign = "<="
    digits: int = 1

    def is_met_by(self, value: float) -> bool | None:
        """Whether a figure reaches the goal; None where there is none."""
        if self.goal is None:
            return None
        if self.sign == ">=":
            return value >= self.goal
        return value < self.goal if self.sign == "<" else value <= self.goal

    def verdict(self, before: float, after: float) -> str:
        """Say whether a figure has become better or worse, within what machines vary by."""
        least, most = sorted((before, after))
        if most <= least * (1 + _KEEPS):
            return "same"
        return "better" if (after > before) == (self.sign == ">=") else "worse"


ROWS: Final = (
    Row("filesystem_max_s", "filesystem", "edit to filesystem grown, with a kubelet, max of 20", "s", 1.0, digits=3),
    Row("filesystem_p50_s", "filesystem", "  the same, median", "s", digits=3),
    Row("default_100_s", "defaults", "100 claims at default settings", "s", 3.0, digits=2),
    Row("cpu_ms", "thousand", "CPU a resize, 1,000 at once", "ms", 2.0, digits=2),
    Row("cpu_ratio", "thousand", "  the same, against the peer's", "x", digits=2),
    Row("spin_s", "thousand", "  ten million additions then (0.45 where the goals are from)", "s", digits=2),
    Row("patches", "thousand", "patches a resize, without a node step", "", 3.0, digits=2),
    Row("requests", "thousand", "  all requests a resize, events among them", "", digits=2),
    Row("events", "thousand", "  events a resize", "", 2.0, digits=2),
    Row("conflicts_percent", "thousand", "  conflicts", "%", 1.0, "<", digits=2),
    Row("patches_node", "nodestep", "patches a resize, with a node step", "", 4.0, digits=2),
    Row("nudges_pod", "nodestep", "  nudges a pod", "", 1.0, digits=2),
    Row("pod_lists_namespace", "nodestep", "  pod lists a namespace", "", 1.0, digits=2),
    Row("pod_watches_namespace", "nodestep", "  pod watches a namespace", "", 1.0, digits=2),
    Row("events_node", "nodestep", "  events a resize", "", 2.0, digits=2),
    Row("conflicts_node_percent", "nodestep", "  conflicts", "%", 1.0, "<", digits=2),
    Row("cpu_node_ms", "nodestep", "  CPU a resize, 1,000 at once", "ms", digits=2),
    Row("ratio", "thousand", "1,000 claims at once, against the peer's rate", "x", 1.2, ">=", digits=2),
    Row("rate", "thousand", "  1,000 claims at once", "/s", None, ">=", digits=0),
    Row("lone_p50_ms", "lone", "lone claim, edit to done, p50", "ms", 20.0),
    Row("lone_p99_ms", "lone", "lone claim, edit to done, p99", "ms", 40.0),
    Row("rss_mb", "large", "memory at 20,000 / 20,000 / 20,000, most while growing", "MB", 130.0, digits=0),
    Row("rss_pods_mb", "large", "    part of 19,000 further pods, all held", "MB"),
    Row("rss_listed_mb", "large", "  the same, after the list", "MB", 130.0, digits=0),
    Row("rss_listed_pods_mb", "large", "    part of 19,000 further pods", "MB", 5.0),
    Row("first_claim_s", "large", "first claim served after a cold start there", "s", 1.1, digits=2),
    Row("last_claim_s", "large", "  a claim at the lists' end", "s", digits=2),
    Row("cold_cpu_s", "large", "  CPU until both", "s", digits=2),
    Row("idle_percent", "large", "idle CPU there, with bookmarks and resync", "%", 0.3, "<", digits=2),
    Row("resync_ms", "large", "  CPU of one resync", "ms", digits=0),
    Row("lag_p99_ms", "thousand", "event-loop lag during the 1,000, p99", "ms", 50.0, "<"),
    Row("crowded_percent", "thousand", "  part of the time that it waited for a processor", "%", digits=0),
    Row("renewal_gap_s", "thousand", "  longest time between lease renewals", "s", 2.0, digits=2),
    Row("leak_mb", "leak", "leak: RSS by slope over 50,000 resizes, 5 % faults", "MB", 1.0, digits=2),
    Row("leak_bytes", "leak", "  bytes a resize", "B"),
)
