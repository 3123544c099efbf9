"""Which series a PromQL query reads, and which series there are: docs/metrics.md for our own, and other programs'."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
from msgspec import Struct

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \| (?P<labels>[\w, ]*?) ?\|", re.MULTILINE)
TARGET_LABELS = frozenset({"job", "instance"})
FOREIGN_SERIES = {
    "kube_persistentvolumeclaim_info": {"namespace", "persistentvolumeclaim", "volumename", "volumemode"},
    "kube_persistentvolumeclaim_resource_requests_storage_bytes": {"namespace", "persistentvolumeclaim"},
    "kube_persistentvolume_info": {"persistentvolume", "csi_driver"},
    "kube_persistentvolume_capacity_bytes": {"persistentvolume"},
    "kube_pod_spec_volumes_persistentvolumeclaims_info": {"namespace", "pod", "persistentvolumeclaim", "volume"},
    "kube_pod_status_phase": {"namespace", "pod", "phase"},
    "kubelet_volume_stats_capacity_bytes": {"namespace", "persistentvolumeclaim"},
    "kubelet_volume_stats_used_bytes": {"namespace", "persistentvolumeclaim"},
}
"""Of kube-state-metrics and the kubelet, with the labels that we read (their documents say so)."""


class Selector(Struct, frozen=True):
    """One selector of a query: the series' name, and its matchers by label."""

    name: str
    labels: dict[str, str]


def selectors(expr: str) -> list[Selector]:
    """All selectors of a query; ValueError when it is no PromQL."""
    return [
        Selector(node.name, {matcher.name: matcher.value for matcher in node.matchers.matchers})
        for node in walk(promql_parser.parse(expr))
        if isinstance(node, promql_parser.VectorSelector)
    ]


def walk(node: Any) -> Iterator[Any]:
    """Every node of a parsed query."""
    yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None:
            yield from walk(child)
    for child in getattr(node, "args", ()):
        yield from walk(child)


def own_series() -> dict[str, frozenset[str]]:
    """Series of docs/metrics.md with their labels, histograms by their three parts."""
    found = {}
    for row in ROW.finditer((ROOT / "docs" / "metrics.md").read_text()):
        labels = frozenset(filter(None, re.split(r", ?", row["labels"]))) | TARGET_LABELS
        if row["type"] == "histogram":
            found |= {f"{row['name']}_sum": labels, f"{row['name']}_count": labels}
            found[f"{row['name']}_bucket"] = labels | {"le"}
        else:
            found[row["name"]] = labels
    return found


def known_series() -> dict[str, frozenset[str]]:
    """Our own series and other programs'."""
    return own_series() | {name: frozenset(labels) | TARGET_LABELS for name, labels in FOREIGN_SERIES.items()}
