"""Nodes, read one by one when a growth there is late: the pipeline's `NodeReader` port.

The right to get nodes is optional: without it each read raises ForbiddenError, its lack is said once (rights), and
whether a node is ready or its kubelet too old stays unknown. Source: Kubernetes API reference, Node v1.
"""

from typing import Final

import msgspec
from msgspec import Struct

from resizer.kube.limiter import Share
from resizer.kube.request import Request
from resizer.kube.resource import NODES
from resizer.kube.transport import Transport
from resizer.model.errors import InvalidError, NotFoundError
from resizer.model.objects import Node


class _Condition(Struct):
    type: str = ""
    status: str = ""


class _Info(Struct, rename="camel"):
    kubelet_version: str = ""


class _Status(Struct, rename="camel"):
    conditions: list[_Condition] | None = None
    node_info: _Info | None = None


class _Node(Struct):
    status: _Status | None = None


_decoder: Final = msgspec.json.Decoder(_Node)


class KubeNodes:
    """The pipeline's `NodeReader` port."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def read_node(self, name: str) -> Node | None:
        """Return the node, None when it is gone. Raises the errors of `resizer.model.errors`."""
        request = Request(verb="get", resource=NODES, name=name, share=Share.READ)
        try:
            return decode_node(name, await self._transport.request(request))
        except NotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise InvalidError(f"it cannot be read: {error}", verb="get", resource=NODES.plural, name=name) from error


def decode_node(name: str, data: bytes | msgspec.Raw) -> Node:
    """Read what matters of a Node. Raises msgspec.MsgspecError where it is none."""
    status = _decoder.decode(data).status or _Status()
    is_ready = any(c.type == "Ready" and c.status == "True" for c in status.conditions or ())
    return Node(name, is_ready, status.node_info.kubelet_version if status.node_info else "")
