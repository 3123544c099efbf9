"""The reference CSI driver csi-qcfsplugin: real filesystems on sparse files, CSI 1.12 and csi.v0 on one socket."""
