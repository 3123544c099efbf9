"""The dashboards as JSON, and JSON through Grafana's schema and back."""

import json
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from tools.dashboards import claim, pipeline, resizes

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "grafana"


def render() -> dict[str, str]:
    """Make every dashboard: file name to text."""
    return {
        f"{module.UID}.json": json.dumps(_numbered(module.dashboard().build()), cls=JSONEncoder, indent=2) + "\n"
        for module in (resizes, pipeline, claim)
    }


def _numbered(made: Dashboard) -> Dashboard:
    """Give each panel its number, so that a link to it stays right."""
    for number, panel in enumerate(made.panels or (), start=1):
        panel.id_val = number
    return made


def round_trip(text: str) -> Any:
    """Read a dashboard by Grafana's schema and write it again; what the schema does not know is lost."""
    register_default_plugins()
    return json.loads(json.dumps(Dashboard.from_json(json.loads(text)), cls=JSONEncoder))
