"""`resizer run --check-config`: the effective settings, each with where it came from.

The output is itself a configuration file: `resizer run --config` on it gives the same settings.
"""

import json
from typing import Any

from resizer.model.flag_value import format_duration
from resizer.settings import Loaded, Settings, is_duration


def describe(loaded: Loaded) -> str:
    """Return one line a setting: its name, its value as YAML, and its origin as a comment."""
    values = {name: shown(name, getattr(loaded.settings, name)) for name in Settings.model_fields}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in values.items()]
    width = min(max(map(len, lines)), 60)
    origins = [loaded.origins[name] for name in values]
    return "\n".join(f"{line:{width}}  # {origin}" for line, origin in zip(lines, origins, strict=True))


def shown(name: str, value: Any) -> str:
    """Return the value as it is written in a configuration file (JSON is YAML)."""
    if is_duration(name):
        return format_duration(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)
