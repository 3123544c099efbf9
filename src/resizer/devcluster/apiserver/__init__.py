"""An API server that answers as a kube-apiserver does, for one machine and one process.

Everything is in memory. A request passes `server` (sockets), `identity` and `rbac` (who may), `faults` (what goes
wrong on purpose), `handler` (verbs), `engine` (rules) and `store` (bytes, versions, history); answers and watches go
out through `present`. All below `server` is synchronous: a state change is one step of the event loop.
"""

from resizer.devcluster.apiserver.server import ApiServer

__all__ = ["ApiServer"]
