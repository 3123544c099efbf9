"""The HTTP edge: one request from its first byte to its audit record.

The only place where a request waits: for its body, for a fault that delays or holds it, for the socket. Everything
between is one synchronous call into `handler`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass

from aiohttp import web

from resizer.devcluster.apiserver import failure
from resizer.devcluster.apiserver.admin import Admin
from resizer.devcluster.apiserver.audit import Audit, AuditRecord
from resizer.devcluster.apiserver.catalogue import Catalogue
from resizer.devcluster.apiserver.discovery import Discovery
from resizer.devcluster.apiserver.failure import ApiError
from resizer.devcluster.apiserver.faults import AFTER, BEFORE, ActiveFault, Faults, shift_lease_times
from resizer.devcluster.apiserver.handler import Answer, Call, Handler
from resizer.devcluster.apiserver.identity import Tokens, User, impersonated
from resizer.devcluster.apiserver.rbac import Authorizer
from resizer.devcluster.apiserver.request import (
    Attributes,
    PageNotFoundError,
    find_resource,
    parse_path,
)
from resizer.devcluster.apiserver.resource import Resource
from resizer.devcluster.apiserver.review import REVIEW_GROUPS
from resizer.devcluster.apiserver.store import Store, encode
from resizer.devcluster.apiserver.stream import Limits, Streams

_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})


@dataclass(slots=True)
class _Exchange:
    """What is known of a request so far; becomes its audit record."""

    request: web.BaseRequest
    asked: Attributes
    user: User
    agent: str
    fault: str = ""
    recorded: bool = False


class _ResetError(Exception):
    """The connection has been cut on purpose: there is nobody to answer."""


class Edge:
    """Reads requests and writes answers."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        store: Store,
        handler: Handler,
        authorizer: Authorizer,
        tokens: Tokens,
        faults: Faults,
        audit: Audit,
        limits: Limits,
    ) -> None:
        self.discovery = Discovery(catalogue, address="")
        self._catalogue = catalogue
        self._handler = handler
        self._authorizer = authorizer
        self._tokens = tokens
        self._faults = faults
        self._audit = audit
        self._admin = Admin(faults, audit, store)
        self.streams = Streams(store, faults, limits=limits)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request."""
        agent = request.headers.get("User-Agent", "")
        exchange = _Exchange(request, Attributes(verb=request.method.lower(), path=request.path), User(""), agent)
        status = 0
        try:
            response = await self._serve(exchange)
            status = response.status
        except ApiError as error:
            status = error.code
            response = _respond(Answer(error.code, encode(error.status()), headers=error.headers))
        except PageNotFoundError:
            status = 404
            response = web.Response(status=404, text="404 page not found\n")
        except web.HTTPRequestEntityTooLarge:
            status = 413
            refused = ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728", details={})
            response = _respond(Answer(413, encode(refused.status())))
        except _ResetError:
            response = web.Response(status=500)
        finally:
            if not exchange.recorded:
                self._record(exchange, status)
        return response

    async def _serve(self, exchange: _Exchange) -> web.StreamResponse:
        request = exchange.request
        refused: Exception | None = None
        try:
            exchange.asked = parse_path(request.method, request.path, request.query, self._catalogue)
        except (ApiError, PageNotFoundError) as error:
            refused = error
        # Who asks comes before what is asked, but the audit log wants to know both.
        exchange.user = self._tokens.user(request.headers)
        if refused is not None:
            raise refused
        self._impersonate(exchange)
        data = await request.read() if request.can_read_body else b""
        if not exchange.asked.path.startswith("/admin/"):
            data = await self._strike_before(exchange, data)
        if not exchange.asked.plural:
            return await self._serve_path(exchange, data)
        self._authorize(exchange)
        call = Call(
            exchange.asked,
            exchange.user,
            request.query,
            request.headers.get("Accept", ""),
            request.headers.get("Content-Type", ""),
            data,
        )
        if exchange.asked.verb == "watch" and exchange.asked.group not in REVIEW_GROUPS:
            resource = find_resource(exchange.asked, self._catalogue)
            return await self.streams.serve(
                request, call, resource, agent=exchange.agent, opened=lambda: self._record(exchange, 200)
            )
        answer = self._handler.answer(call)
        return await self._strike_after(exchange, answer)

    def _impersonate(self, exchange: _Exchange) -> None:
        headers = exchange.request.headers
        wanted = impersonated(headers, headers.getall("Impersonate-Group", []))
        if wanted is None:
            return
        account = wanted.name.split(":") if wanted.name.startswith("system:serviceaccount:") else []
        plural, namespace, name = (
            ("serviceaccounts", account[2], account[3])
            if len(account) == 4
            else (
                "users",
                "",
                wanted.name,
            )
        )
        self._check(exchange.user, Attributes(verb="impersonate", plural=plural, namespace=namespace, name=name))
        for group in headers.getall("Impersonate-Group", []):
            self._check(exchange.user, Attributes(verb="impersonate", plural="groups", name=group))
        exchange.user = wanted

    def _authorize(self, exchange: _Exchange) -> None:
        self._check(exchange.user, exchange.asked)

    def _check(self, user: User, asked: Attributes) -> None:
        if self._authorizer.reason_to_allow(user, asked) is not None:
            return
        if not asked.plural:
            text = f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"'
            raise ApiError(403, "Forbidden", text, details={})
        plural = f"{asked.plural}/{asked.subresource}" if asked.subresource else asked.plural
        where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
        text = f'User "{user.name}" cannot {asked.verb} resource "{plural}" in API group "{asked.group}" {where}'
        resource = self._catalogue.find(asked.group, asked.version, asked.plural) or Resource(
            group=asked.group, version="v1", kind="", plural=asked.plural, namespaced=bool(asked.namespace)
        )
        raise failure.forbidden(resource, asked.name, text)

    async def _serve_path(self, exchange: _Exchange, data: bytes) -> web.StreamResponse:
        """Serve what concerns no resource: health, discovery, and the admin endpoints."""
        path, asked = exchange.request.path.rstrip("/"), exchange.asked
        self._check(exchange.user, asked)
        if path.partition("/")[2].partition("/")[0] and f"/{path.split('/')[1]}" in _HEALTH:
            return web.Response(text="ok")
        if path.startswith("/admin/"):
            answer = await self._admin.answer(exchange.request.method, path, exchange.request.query, data)
            return _respond(answer)
        found = self.discovery.answer(path)
        if found is None:
            raise PageNotFoundError
        return _respond(Answer(200, encode(found)))

    async def _strike_before(self, exchange: _Exchange, data: bytes) -> bytes:
        """Let a fault delay, refuse or cut a request before anything is done about it."""
        if not self._faults:
            return data
        struck = self._faults.strike(BEFORE, exchange.asked, exchange.user.name, exchange.agent)
        if struck is None:
            return data
        fault = struck.fault
        exchange.fault = fault.kind
        if fault.kind == "latency":
            await asyncio.sleep(fault.delay_s)
        elif fault.kind == "hold-before":
            await struck.hold()
            if exchange.request.transport is None:
                # The client was killed while it waited: what it asked for never happens.
                raise _ResetError
        elif fault.kind == "reset":
            _reset(exchange.request)
        elif fault.kind == "lease-clock":
            return shift_lease_times(data, fault.delay_s)
        else:
            raise _refusal(struck)
        return data

    async def _strike_after(self, exchange: _Exchange, answer: Answer) -> web.StreamResponse:
        """Send an answer, or let a fault keep it, cut it or lose it: what was asked has been done."""
        struck = None
        if self._faults:
            struck = self._faults.strike(AFTER, exchange.asked, exchange.user.name, exchange.agent)
        if struck is None:
            return _respond(answer)
        exchange.fault = struck.fault.kind
        if struck.fault.kind == "hold-after":
            await struck.hold()
            return _respond(answer)
        if struck.fault.kind == "cut":
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            response.content_length = len(answer.body)
            await response.prepare(exchange.request)
            await response.write(answer.body[: len(answer.body) // 2])
        _reset(exchange.request, graceful=struck.fault.kind == "cut")
        raise _ResetError

    def _record(self, exchange: _Exchange, status: int) -> None:
        asked = exchange.asked
        exchange.recorded = True
        self._audit.add(
            AuditRecord(
                at_s=asyncio.get_running_loop().time(),
                time=dt.datetime.now(dt.UTC).isoformat(),
                user=exchange.user.name,
                verb=asked.verb,
                group=asked.group,
                resource=asked.plural,
                subresource=asked.subresource,
                namespace=asked.namespace,
                name=asked.name or asked.path,
                status=status,
                user_agent=exchange.agent,
                fault=exchange.fault,
            )
        )


def _refusal(struck: ActiveFault) -> ApiError:
    kind, delay_s = struck.fault.kind, struck.fault.delay_s
    if kind == "throttle":
        text = "the server has received too many requests and has asked us to try again later"
        return ApiError(429, "TooManyRequests", text, details={}, headers={"Retry-After": str(max(1, round(delay_s)))})
    if kind == "unavailable":
        return ApiError(503, "ServiceUnavailable", "the server is currently unable to handle the request", details={})
    if kind == "unauthorized":
        return failure.unauthorized()
    return ApiError(500, "InternalError", "Internal error occurred: fault on demand", details={})


def _reset(request: web.BaseRequest, *, graceful: bool = False) -> None:
    """Cut the connection: with a reset, or with an ordinary end in the middle of an answer."""
    transport = request.transport
    if transport is not None:
        if graceful:
            transport.close()
        else:
            transport.abort()
    raise _ResetError


def _respond(answer: Answer) -> web.Response:
    return web.Response(
        body=answer.body, status=answer.status, content_type=answer.content_type, headers=dict(answer.headers) or None
    )
