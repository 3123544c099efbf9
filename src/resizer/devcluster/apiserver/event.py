"""Events under their two names: `v1` and `events.k8s.io/v1` show the same objects with other field names."""

from __future__ import annotations

from resizer.devcluster.apiserver.resource import Document

_NEW_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_CORE_NAMES = {new: core for core, new in _NEW_NAMES.items()}


def from_core(doc: Document) -> Document:
    """Show a stored event as events.k8s.io/v1 does."""
    renamed = {_NEW_NAMES.get(key, key): value for key, value in doc.items()}
    return {**renamed, "apiVersion": "events.k8s.io/v1"}


def to_core(doc: Document) -> Document:
    """Store an event of events.k8s.io/v1 under the names of v1."""
    renamed = {_CORE_NAMES.get(key, key): value for key, value in doc.items()}
    return {**renamed, "apiVersion": "v1"}
