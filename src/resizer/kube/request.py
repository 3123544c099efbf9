"""One request to the API server, and its answer: what is asked, not how it is sent."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from msgspec import Struct

from resizer.kube.limiter import Share
from resizer.kube.resource import Resource
from resizer.model.errors import ThrottledError, UnavailableError

REQUEST_DEADLINE_S: Final = 30.0
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
MAX_PAGE_BYTES: Final = 256 * 1024 * 1024
MERGE_PATCH: Final = "application/merge-patch+json"
JSON: Final = "application/json"
_METHODS: Final = {"get": "GET", "list": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "watch": "GET"}


class Request(Struct, frozen=True, kw_only=True):
    """One request to make. `share` None passes by the limiter; `body` is encoded as JSON."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    params: Mapping[str, str] = {}
    body: Any = None
    content_type: str = JSON
    share: Share | None = Share.WRITE
    timeout_s: float = REQUEST_DEADLINE_S
    max_bytes: int = MAX_ANSWER_BYTES
    path: str = ""
    """A path that is no resource's, instead."""

    @property
    def resource_name(self) -> str:
        """The resource with its subresource, as RBAC writes it."""
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural

    @property
    def object_name(self) -> str:
        """The object, for messages: `namespace/name` or `name`."""
        return f"{self.namespace}/{self.name}" if self.namespace and self.name else self.name

    @property
    def method(self) -> str:
        """HTTP's method."""
        return _METHODS[self.verb]

    @property
    def target(self) -> str:
        """Path and query."""
        path = self.path or self.resource.path(namespace=self.namespace, name=self.name, subresource=self.subresource)
        return f"{path}?{urlencode(self.params)}" if self.params else path

    def unavailable(self, text: str, *, status: int = 0) -> UnavailableError:
        """The error of an outcome that nobody knows."""
        return UnavailableError(text, verb=self.verb, resource=self.resource_name, name=self.object_name, status=status)

    def not_sent(self) -> ThrottledError:
        """The error of a request whose turn did not come."""
        text = f"waited {self.timeout_s:.0f}s for the API server to take more requests"
        return ThrottledError(text, verb=self.verb, resource=self.resource_name, name=self.object_name)


class Answer(Struct, frozen=True):
    """What came back, whatever it says; the whole body."""

    status: int
    body: bytes
    wait_s: float = 0.0
    """What a Retry-After asks for."""
