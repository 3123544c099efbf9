"""The node agent: grows filesystems on its own node by the driver's node socket, where the kubelet does not."""
