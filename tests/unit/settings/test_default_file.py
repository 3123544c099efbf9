import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from resizer.settings import Settings, load_settings

ROOT = Path(__file__).parents[3]
FILE = ROOT / "config" / "default.yaml"
PAGE = ROOT / "docs" / "configuration.md"
TOOL = ROOT / "tools" / "write_configuration.py"


def write_page(*arguments):
    return subprocess.run([sys.executable, TOOL, *arguments], check=False, capture_output=True, text=True)


def test_the_file_of_defaults_names_every_setting_with_its_default():
    """config/default.yaml is complete and true: loading it changes nothing, and no setting is missing."""
    named = {key.replace("-", "_") for key in yaml.safe_load(FILE.read_text())}
    assert named == set(Settings.model_fields)
    assert load_settings({}, file=str(FILE)).model_dump() == Settings().model_dump()


def test_every_setting_has_its_reason_above_it_and_a_line_in_the_help():
    """No key stands without a comment of its own, and none without a description."""
    lines = FILE.read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if line and not line.startswith(("#", " "))]
    assert len(keys) == len(Settings.model_fields)
    bare = [lines[number] for number in keys if not lines[number - 1].startswith("# ") or "---" in lines[number - 1]]
    assert bare == []
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_page_of_all_settings_is_current():
    """docs/configuration.md is what `make docs` writes now."""
    checked = write_page("--check")
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_the_page_names_every_setting(name):
    """A setting that the page leaves out would be one that nobody finds."""
    assert f"| `{name.replace('_', '-')}` |" in PAGE.read_text()
