"""The gRPC leaf: CSI messages and stubs, the client channel, the server socket. Imports nothing of ours."""

import os

# Before grpc is imported anywhere: its fork handlers would run, and may hang, for every program we start.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
