"""Resizer: grows Kubernetes volumes through CSI while the database on them runs."""

import os

# Before grpc is imported anywhere: its fork handlers would run, and may hang, for every program that is started.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

__version__ = "0.1.0"
