"""Request bodies in Kubernetes' protobuf form, for the kinds that kubectl and Go controllers send that way.

kubectl's typed commands (`create namespace`, `create secret`, `auth can-i`, `create token`) send protobuf and take
JSON back. A message is read by a table of field numbers, which are the contract of the API types; a field that the
table does not know makes the whole body unsupported, so that nothing is lost in silence.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from resizer.devcluster.apiserver.failure import bad_request, unsupported_media_type
from resizer.devcluster.apiserver.resource import Document

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: its name in JSON, its type, whether it repeats, and whether empty differs from absent."""

    name: str
    type: str
    repeated: bool = False
    optional: bool = False


def _table(text: str) -> dict[int, _Field]:
    """Read `number name type` triples; `[]` after the type repeats, `?` keeps empty values, `{}` is a map."""
    fields = {}
    for line in text.split(","):
        number, name, kind = line.split()
        fields[int(number)] = _Field(name, kind.rstrip("?").removesuffix("[]"), "[]" in kind, kind.endswith("?"))
    return fields


_TYPES: dict[str, dict[int, _Field]] = {
    "Meta": _table(
        "1 name str, 2 generateName str, 3 namespace str, 4 selfLink str, 5 uid str, 6 resourceVersion str, "
        "7 generation int, 8 creationTimestamp time, 9 deletionTimestamp time, 10 deletionGracePeriodSeconds int?, "
        "11 labels {str}, 12 annotations {str}, 13 ownerReferences Owner[], 14 finalizers str[], "
        "17 managedFields skip"
    ),
    "Owner": _table(
        "1 kind str, 3 name str, 4 uid str, 5 apiVersion str, 6 controller bool?, 7 blockOwnerDeletion bool?"
    ),
    "Reference": _table(
        "1 kind str, 2 namespace str, 3 name str, 4 uid str, 5 apiVersion str, 6 resourceVersion str, 7 fieldPath str"
    ),
    "Named": _table("1 name str"),
    "Namespace": _table("1 metadata Meta, 2 spec skip, 3 status skip"),
    "Secret": _table("1 metadata Meta, 2 data {bytes}, 3 type str, 4 stringData {str}, 5 immutable bool?"),
    "ConfigMap": _table("1 metadata Meta, 2 data {str}, 3 binaryData {bytes}, 4 immutable bool?"),
    "ServiceAccount": _table(
        "1 metadata Meta, 2 secrets Reference[], 3 imagePullSecrets Named[], 4 automountServiceAccountToken bool?"
    ),
    "ResourceQuota": _table("1 metadata Meta, 2 spec QuotaSpec, 3 status skip"),
    "QuotaSpec": _table("1 hard {Quantity}, 2 scopes str[]"),
    "Quantity": _table("1 string str"),
    "SelfSubjectAccessReview": _table("1 metadata Meta, 2 spec AccessSpec, 3 status skip"),
    "SubjectAccessReview": _table("1 metadata Meta, 2 spec AccessSpec, 3 status skip"),
    "LocalSubjectAccessReview": _table("1 metadata Meta, 2 spec AccessSpec, 3 status skip"),
    "AccessSpec": _table(
        "1 resourceAttributes Attributes, 2 nonResourceAttributes Path, 3 user str, 4 groups str[], 6 uid str"
    ),
    "Attributes": _table(
        "1 namespace str, 2 verb str, 3 group str, 4 version str, 5 resource str, 6 subresource str, 7 name str"
    ),
    "Path": _table("1 path str, 2 verb str"),
    "SelfSubjectRulesReview": _table("1 metadata Meta, 2 spec RulesSpec, 3 status skip"),
    "RulesSpec": _table("1 namespace str"),
    "SelfSubjectReview": _table("1 metadata Meta, 2 status skip"),
    "TokenRequest": _table("1 metadata Meta, 2 spec TokenSpec, 3 status skip"),
    "TokenSpec": _table("1 audiences str[], 3 boundObjectRef Bound, 4 expirationSeconds int?"),
    "Bound": _table("1 kind str, 2 apiVersion str, 3 name str, 4 uid str"),
    "ClusterRole": _table("1 metadata Meta, 2 rules Rule[], 3 aggregationRule skip"),
    "Role": _table("1 metadata Meta, 2 rules Rule[]"),
    "Rule": _table(
        "1 verbs str[], 2 apiGroups str[], 3 resources str[], 4 resourceNames str[], 5 nonResourceURLs str[]"
    ),
    "ClusterRoleBinding": _table("1 metadata Meta, 2 subjects Subject[], 3 roleRef RoleRef"),
    "RoleBinding": _table("1 metadata Meta, 2 subjects Subject[], 3 roleRef RoleRef"),
    "Subject": _table("1 kind str, 2 apiGroup str, 3 name str, 4 namespace str"),
    "RoleRef": _table("1 apiGroup str, 2 kind str, 3 name str"),
    "Lease": _table("1 metadata Meta, 2 spec LeaseSpec"),
    "LeaseSpec": _table(
        "1 holderIdentity str?, 2 leaseDurationSeconds int?, 3 acquireTime micro, 4 renewTime micro, "
        "5 leaseTransitions int?, 6 strategy str?, 7 preferredHolder str?"
    ),
    "Event": _table(
        "1 metadata Meta, 2 involvedObject Reference, 3 reason str, 4 message str, 5 source Source, "
        "6 firstTimestamp time, 7 lastTimestamp time, 8 count int, 9 type str, 10 eventTime micro, 12 action str, "
        "13 related Reference, 14 reportingComponent str, 15 reportingInstance str"
    ),
    "Source": _table("1 component str, 2 host str"),
    "DeleteOptions": _table(
        "1 gracePeriodSeconds int?, 2 preconditions Preconditions, 3 orphanDependents bool?, "
        "4 propagationPolicy str?, 5 dryRun str[], 6 ignoreStoreReadErrorWithClusterBreakingPotential bool?"
    ),
    "Preconditions": _table("1 uid str?, 2 resourceVersion str?"),
    "Envelope": _table("1 type TypeMeta, 2 raw raw, 3 contentEncoding str, 4 contentType str"),
    "TypeMeta": _table("1 apiVersion str, 2 kind str"),
}

_KINDS = {name for name, table in _TYPES.items() if 1 in table and table[1].name == "metadata"} | {"DeleteOptions"}


def read(data: bytes) -> Document:
    """Read a body; 415 for a kind or a field that the table does not have."""
    if not data.startswith(_MAGIC):
        raise bad_request("the body is not in Kubernetes' protobuf form")
    try:
        envelope = _message("Envelope", data[len(_MAGIC) :])
        kind = envelope.get("type", {}).get("kind", "")
        if kind not in _KINDS:
            raise unsupported_media_type()
        return {"kind": kind, "apiVersion": envelope["type"].get("apiVersion", ""), **_message(kind, envelope["raw"])}
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise bad_request(f"the protobuf body is malformed: {error}") from error


def _message(kind: str, data: bytes) -> Document:
    table, doc = _TYPES[kind], Document()
    for number, value in _fields(data):
        field = table.get(number)
        if field is None:
            raise unsupported_media_type()
        if field.type == "skip":
            continue
        if field.type.startswith("{"):
            key, below = _entry(field.type[1:-1], value)
            doc.setdefault(field.name, {})[key] = below
            continue
        decoded = _value(field.type, value)
        if field.repeated:
            doc.setdefault(field.name, []).append(decoded)
        elif decoded not in ("", 0, None, {}) or field.optional:
            doc[field.name] = decoded
    return doc


def _entry(kind: str, data: Any) -> tuple[str, Any]:
    parts = dict(_fields(data))
    return parts.get(1, b"").decode(), _value(kind, parts.get(2, b""))


def _value(kind: str, value: Any) -> Any:
    if kind == "int":
        return value - (1 << 64) if value >> 63 else value
    if kind == "bool":
        return bool(value)
    if kind == "str":
        return value.decode()
    if kind == "bytes":
        return base64.b64encode(value).decode()
    if kind == "raw":
        return value
    if kind in {"time", "micro"}:
        return _time(value, micro=kind == "micro")
    below = _message(kind, value)
    return below.get("string", "0") if kind == "Quantity" else below


def _time(data: bytes, *, micro: bool) -> str | None:
    parts = dict(_fields(data))
    if not parts.get(1):
        return None
    moment = dt.datetime.fromtimestamp(parts[1] + parts.get(2, 0) / 1e9, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield field numbers and raw values of one message: numbers for varints, bytes for the rest."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}[wire]
        if at + size > len(data):
            raise IndexError("a field is longer than the body")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError("a number is too long")
