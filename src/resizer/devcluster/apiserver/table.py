"""Tables: the columns that `kubectl get` shows, computed by the server."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from resizer.devcluster.apiserver.resource import Column, Document, Resource

NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow "
    "a client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
AGE_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)


def age(text: str | None, *, now: dt.datetime | None = None) -> str:
    """Say how long ago a timestamp was, in the short form of `kubectl get`."""
    if not text:
        return "<unknown>"
    then = dt.datetime.fromisoformat(text)
    seconds = int(((now or dt.datetime.now(dt.UTC)) - then).total_seconds())
    if seconds < 0:
        return "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    steps = (
        (seconds < 120, f"{seconds}s"),
        (minutes < 10, f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"),
        (hours < 3, f"{minutes}m"),
        (hours < 8, f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"),
        (hours < 48, f"{hours}h"),
        (days < 8, f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"),
        (days < 730, f"{days}d"),
    )
    return next((shown for fits, shown in steps if fits), f"{days // 365}y{days % 365}d")


NAME = Column("Name", lambda doc: doc["metadata"].get("name", ""), NAME_TEXT, format="name")
AGE = Column("Age", lambda doc: age(doc["metadata"].get("creationTimestamp")), AGE_TEXT)
PLAIN = (NAME, AGE)


def build(
    resource: Resource, docs: Sequence[Document], meta: Document, *, include: str, columns: bool = True
) -> Document:
    """Build a table of objects; `include` says how much of each object its row carries."""
    shown = resource.columns or PLAIN
    table: Document = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
    table["columnDefinitions"] = [column.definition() for column in shown] if columns else []
    table["rows"] = [_row(doc, shown, include) for doc in docs]
    return table


def _row(doc: Document, columns: Sequence[Column], include: str) -> Document:
    row: Document = {"cells": [column.value(doc) for column in columns]}
    if include == "Object":
        row["object"] = doc
    elif include != "None":
        row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": doc["metadata"]}
    return row
