"""Resizer: grows Kubernetes volumes through CSI while the database on them runs."""

__version__ = "0.1.0"
