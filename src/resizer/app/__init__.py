"""Composition root: builds everything from the settings, owns the task groups and the order of the shutdown.

`start` begins and ends a run, `pipeline` puts the parts together and runs them, `endpoint` shows them over HTTP.
"""

from resizer.app.error import StartError
from resizer.app.start import run_pipeline

__all__ = ["StartError", "run_pipeline"]
