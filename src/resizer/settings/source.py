"""Where settings come from: flags, then RESIZER_* variables, then a YAML file, then the defaults.

In: the values of flags by the settings' names, the environment, the path of a file. Out: `Settings` that can work, with
the origin of each; or SettingsError with every mistake of all places at once.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from resizer.settings.table import SETTINGS, Setting, Settings, suggest_setting

ENVIRONMENT_PREFIX: Final = "RESIZER_"
MAX_FILE_BYTES: Final = 256 * 1024


class SettingsError(ValueError):
    """Settings that cannot be used: a line for each mistake, naming the setting, the cause and the next step."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Loaded(Struct, frozen=True):
    """Settings, and where each of them comes from: "flag", "environment NAME", "file PATH" or "default"."""

    settings: Settings
    origins: dict[str, str]


class _Given(Struct, frozen=True):
    """A value as it was written, and its origin."""

    value: object
    origin: str


def load_settings(flags: Mapping[str, object], *, file: str = "") -> Settings:
    """Put flags, environment and file together. Raises SettingsError with a line for each mistake."""
    return load(flags, file=file).settings


def load(flags: Mapping[str, object], *, file: str = "") -> Loaded:
    """Put flags, environment and file together, and say what came from where. Raises SettingsError."""
    from_file, mistakes = _read_file(Path(file)) if file else ({}, [])
    given = {
        **{name: _Given(value, f"file {file}") for name, value in from_file.items()},
        **_read_environment(os.environ),
        **{name: _Given(value, "flag") for name, value in flags.items()},
    }
    values: dict[str, Any] = {}
    wrong = [_unknown(name) for name in given if name not in SETTINGS]
    for name, setting in SETTINGS.items():
        if name in given:
            try:
                values[name] = _read(setting, given[name])
            except SettingsError as error:
                wrong.extend(error.mistakes)
    settings = Settings(**values)
    # With a default in place of a value that is wrong, combinations would be a guess.
    wrong = wrong or settings.contradictions()
    if mistakes or wrong:
        raise SettingsError(*mistakes, *wrong)
    return Loaded(settings, {name: given[name].origin if name in given else "default" for name in SETTINGS})


def _read(setting: Setting, given: _Given) -> Any:
    """Return what a value means. Raises SettingsError with the setting's name and place in each line."""
    try:
        if given.value is None:
            raise ValueError("nothing is given: write a value, or leave the setting out")
        return setting.kind.read(given.value)
    except ValueError as error:
        place = "" if given.origin == "flag" else f" ({given.origin})"
        subject = f"{setting.name.replace('_', '-')}{place}"
        raise SettingsError(*(f"{subject}: {line}" for line in str(error).splitlines())) from error


def _read_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    """Find variables in any case; an empty one is none, and one that is no setting is not ours to judge."""
    found: dict[str, _Given] = {}
    for variable, value in environment.items():
        name = variable.lower().removeprefix(ENVIRONMENT_PREFIX.lower())
        if value and name != variable.lower() and name in SETTINGS:
            found[name] = _Given(value, f"environment {variable}")
    return found


def _unknown(name: str) -> str:
    near = suggest_setting(name)
    return f"{name!r} is no setting" + (f"; did you mean {near!r}?" if near else "; see config/default.yaml")


def _read_yaml(path: Path) -> tuple[Any, Any]:
    """Return a file's content, and the nodes that know their lines; of a file without an end only so much is read."""
    import yaml  # most have no file

    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode()
    except OSError as error:
        raise SettingsError(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"the configuration {path} is no YAML: {str(error).splitlines()[0]}") from error
    if len(text) > MAX_FILE_BYTES:
        raise SettingsError(f"the configuration {path} is longer than {MAX_FILE_BYTES} bytes: name a file of settings")
    try:
        return yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except RecursionError as error:
        raise SettingsError(
            f"the configuration {path} is nested too deeply: settings are one level of names"
        ) from error
    except yaml.MarkedYAMLError as error:
        place = f"{path}, line {error.problem_mark.line + 1}" if error.problem_mark else str(path)
        raise SettingsError(f"{place}: this is no YAML: {error.problem or error.context}; correct it there") from error
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"the configuration {path} is no YAML: {str(error).splitlines()[0]}") from error


def _read_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Read known settings from a file, and a line for each that is unknown or there twice."""
    content, node = _read_yaml(path)
    if content is None or node is None:
        return {}, []
    if not isinstance(content, dict):
        raise SettingsError(f"the configuration {path} must be a mapping of settings")
    seen: dict[str, int] = {}
    mistakes: list[str] = []
    for key, _ in node.value:
        name, line = str(key.value).replace("-", "_"), key.start_mark.line + 1
        if name not in SETTINGS:
            mistakes.append(f"{path}, line {line}: {_unknown(str(key.value))}")
        elif name in seen:
            mistakes.append(f"{path}, line {line}: {key.value!r} stands in line {seen[name]} already")
        seen.setdefault(name, line)
    values = {str(key).replace("-", "_"): value for key, value in content.items()}
    return {name: value for name, value in values.items() if name in SETTINGS}, mistakes
