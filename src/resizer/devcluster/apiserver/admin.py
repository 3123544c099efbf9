"""The admin endpoints: faults, audit log and switches, for tests in other processes and for people.

    POST   /admin/faults                  a Fault as JSON; answers its id
    GET    /admin/faults[/ID]             what is in force; `?held=N&timeoutSeconds=S` waits until N requests stand
    POST   /admin/faults/ID/release       let go what it holds
    DELETE /admin/faults[/ID]             take it, or all of them, out of force
    GET    /admin/audit?verb=patch&...    records whose fields have these values; `?count=1` only counts them
    DELETE /admin/audit
    POST   /admin/compact                 forget history: older versions get 410
    GET    /admin/statistics

Only cluster admins get here: the edge asks for rights to the path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from resizer.devcluster.apiserver.audit import Audit, AuditRecord
from resizer.devcluster.apiserver.failure import ApiError, bad_request, method_not_allowed, unknown_path
from resizer.devcluster.apiserver.faults import ActiveFault, Fault, Faults
from resizer.devcluster.apiserver.handler import Answer
from resizer.devcluster.apiserver.store import Store, encode

_FIELDS = frozenset(AuditRecord.__struct_fields__)


class Admin:
    """Answers requests below /admin."""

    def __init__(self, faults: Faults, audit: Audit, store: Store) -> None:
        self._faults = faults
        self._audit = audit
        self._store = store

    async def answer(self, method: str, path: str, query: Mapping[str, str], data: bytes) -> Answer:
        """Answer one request."""
        _, _, what, *rest = path.split("/")
        if what == "faults":
            return await self._answer_faults(method, rest, query, data)
        if what == "audit" and not rest:
            return self._answer_audit(method, query)
        if (method, what) == ("POST", "compact"):
            self._store.compact()
            return _answer({})
        if (method, what) == ("GET", "statistics"):
            return _answer(self._store.statistics())
        raise unknown_path()

    async def _answer_faults(self, method: str, rest: list[str], query: Mapping[str, str], data: bytes) -> Answer:
        if not rest:
            return self._answer_all(method, data)
        active = self._faults.get(rest[0])
        if active is None:
            raise ApiError(404, "NotFound", f'fault "{rest[0]}" not found', details={})
        if method == "POST" and rest[1:] == ["release"]:
            self._faults.release(active.id)
        elif method == "DELETE" and not rest[1:]:
            self._faults.remove(active.id)
        elif method == "GET" and not rest[1:]:
            await _wait_held(active, query)
        else:
            raise method_not_allowed()
        return _answer(active.state())

    def _answer_all(self, method: str, data: bytes) -> Answer:
        if method == "POST":
            try:
                fault = msgspec.json.decode(data, type=Fault)
            except msgspec.DecodeError as error:
                raise bad_request(f"no such fault: {error}") from error
            return _answer(self._faults.add(fault).state(), 201)
        if method == "DELETE":
            self._faults.clear()
        elif method != "GET":
            raise method_not_allowed()
        return _answer({"faults": [active.state() for active in self._faults]})

    def _answer_audit(self, method: str, query: Mapping[str, str]) -> Answer:
        if method == "DELETE":
            self._audit.clear()
            return _answer({})
        if method != "GET":
            raise method_not_allowed()
        wanted: dict[str, str | int] = {key: value for key, value in query.items() if key in _FIELDS}
        if "status" in wanted:
            wanted["status"] = int(_number(query, "status"))
        records = self._audit.select(**wanted)
        if "count" in query:
            return _answer({"count": len(records), "total": self._audit.total})
        return _answer({"records": [msgspec.to_builtins(record) for record in records], "total": self._audit.total})


async def _wait_held(active: ActiveFault, query: Mapping[str, str]) -> None:
    if "held" not in query:
        return
    count, timeout_s = int(_number(query, "held")), _number(query, "timeoutSeconds", otherwise=30.0)
    try:
        await asyncio.wait_for(active.wait_held(count), timeout_s)
    except TimeoutError as error:
        raise ApiError(504, "Timeout", f"fault {active.id} holds {active.held} requests", details={}) from error


def _number(query: Mapping[str, str], name: str, *, otherwise: float = 0.0) -> float:
    try:
        return float(query.get(name, otherwise))
    except ValueError as error:
        raise bad_request(f"{name}: {query[name]!r} is no number") from error


def _answer(body: Any, status: int = 200) -> Answer:
    return Answer(status, encode(body))
