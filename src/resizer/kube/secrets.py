"""Secrets, read when a driver call needs them and never kept. No value appears in a repr, an error or a log."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from resizer.kube.limiter import Share
from resizer.kube.request import Request
from resizer.kube.resource import SECRETS
from resizer.kube.transport import Transport
from resizer.model.errors import InvalidError


class SecretData(Mapping[str, str]):
    """The decoded data of a secret; shows its keys only."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"SecretData({', '.join(sorted(self._values))})"


class _Secret(Struct):
    data: dict[str, str] | None = None


_decoder: Final = msgspec.json.Decoder(_Secret)


class KubeSecrets:
    """The pipeline's `SecretReader` port."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def read_secret(self, namespace: str, name: str) -> Mapping[str, str]:
        """Return the decoded data of the secret. Raises the errors of `resizer.model.errors`, without any value."""
        request = Request(verb="get", resource=SECRETS, namespace=namespace, name=name, share=Share.READ)
        body = await self._transport.request(request)
        reason = ""
        try:
            data = _decoder.decode(body).data or {}
            return SecretData({key: base64.b64decode(value, validate=True).decode() for key, value in data.items()})
        except msgspec.MsgspecError:
            reason = "it cannot be read"
        except (binascii.Error, UnicodeDecodeError):
            reason = "a value is no base64 of UTF-8 text, and CSI carries only text"
        # Raised outside the handlers: what the parser says may quote a value.
        raise InvalidError(reason, verb="get", resource=SECRETS.plural, name=request.object_name)
