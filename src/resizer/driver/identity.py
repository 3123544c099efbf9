"""Identity: who the driver is and what it can do at large (CSI 1.12, "Identity Service RPC")."""

from typing import Final

from google.protobuf.wrappers_pb2 import BoolValue

from resizer import __version__
from resizer.rpc.pb import csi_v1_pb2 as pb

DEFAULT_NAME: Final = "csi-qcfsplugin"

Service = pb.PluginCapability.Service
Expansion = pb.PluginCapability.VolumeExpansion


class Identity:
    """The Identity service."""

    def __init__(self, name: str) -> None:
        """Answer to `name`."""
        self._name = name

    async def get_plugin_info(self, request: pb.GetPluginInfoRequest) -> pb.GetPluginInfoResponse:
        """Name and version."""
        del request
        return pb.GetPluginInfoResponse(name=self._name, vendor_version=__version__)

    async def get_plugin_capabilities(
        self, request: pb.GetPluginCapabilitiesRequest
    ) -> pb.GetPluginCapabilitiesResponse:
        """A controller, and volumes that grow while in use."""
        del request
        return pb.GetPluginCapabilitiesResponse(
            capabilities=[
                pb.PluginCapability(service=Service(type=Service.CONTROLLER_SERVICE)),
                pb.PluginCapability(volume_expansion=Expansion(type=Expansion.ONLINE)),
            ]
        )

    async def probe(self, request: pb.ProbeRequest) -> pb.ProbeResponse:
        """Ready: the socket is served only once everything below it is."""
        del request
        return pb.ProbeResponse(ready=BoolValue(value=True))
