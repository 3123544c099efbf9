"""Settings of `resizer run`: flags by the peer's names, RESIZER_* environment variables, and a YAML file.

A flag wins over the environment, the environment over the file, the file over the default. `table` lists every
setting, `kind` reads what people write for one, `source` puts the places together and names every mistake in a line
that says what to change, before anything is started. `config/default.yaml` shows them all; `cli/check_config.py`
prints what came of them, and `cli/notices.py` says what is odd but no mistake.
"""

from resizer.settings.kind import SWITCH
from resizer.settings.source import ENVIRONMENT_PREFIX, MAX_FILE_BYTES, Loaded, SettingsError, load, load_settings
from resizer.settings.table import SETTINGS, Setting, Settings, is_duration, suggest_setting

__all__ = [
    "ENVIRONMENT_PREFIX",
    "MAX_FILE_BYTES",
    "SETTINGS",
    "SWITCH",
    "Loaded",
    "Setting",
    "Settings",
    "SettingsError",
    "is_duration",
    "load",
    "load_settings",
    "suggest_setting",
]
