"""Events of the cluster's own parts, as `kubectl describe` shows them. What cannot be told is dropped."""

import contextlib
import secrets
import time
from typing import Literal

from resizer.devcluster.client import EVENTS, ApiClientError, Client, Document
from resizer.model.timestamp import format_time

_MAX_MESSAGE = 1024


def timestamp() -> str:
    """Return the time as Kubernetes writes it, in whole seconds."""
    return format_time(time.time())


async def tell(
    client: Client, about: Document, *, type_: Literal["Normal", "Warning"], reason: str, message: str, source: str
) -> None:
    """Write one event about an object that is, or was, on the API server."""
    meta, now = about["metadata"], timestamp()
    namespace = meta.get("namespace", "default")
    body = {
        "metadata": {"name": f"{meta['name']}.{secrets.token_hex(8)}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": meta["name"],
            "namespace": meta.get("namespace", ""),
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
        "type": type_,
        "reason": reason,
        "message": message[:_MAX_MESSAGE],
        "source": {"component": source},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    with contextlib.suppress(ApiClientError):
        await client.create(EVENTS, body, namespace=namespace)
