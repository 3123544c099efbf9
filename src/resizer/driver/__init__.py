"""The reference CSI driver csi-qcfsplugin: real filesystems on sparse files, CSI 1.12 and csi.v0 on one socket."""

import resizer.rpc  # noqa: F401 -- before grpc: it turns off gRPC's fork handlers, and this package starts programs
