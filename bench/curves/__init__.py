"""How the costs of one resizer process grow, and where each curve bends: `python -m bench.curves`.

`command` is what a person types; `measurement` holds the four curves; `rig` runs the programs and reads their CPU and
memory; `world` is the API server and `drivers` the CSI drivers, each a process of its own; `drawing` makes pictures of
kept figures. Nothing here runs on the resizer's account but the resizer.
"""

from bench.curves.command import main

__all__ = ["main"]
