"""What a CSI driver said of itself and of a growth. Filled in by `csi`, read by decisions."""

from msgspec import Struct


class DriverFacts(Struct, frozen=True):
    """A driver's name and capabilities, asked once per connection (CSI spec: GetPluginInfo, Get*Capabilities)."""

    name: str
    version: str = ""
    protocol: str = "v1"
    controller_expansion: bool = True
    node_expansion: bool = True
    single_node_multi_writer: bool = False
    online_expansion: bool = True
    modify_volume: bool = False


class Expansion(Struct, frozen=True):
    """A driver's success: the size it says the volume has, in bytes, and whether the node must act."""

    capacity_bytes: int
    node_expansion_required: bool
