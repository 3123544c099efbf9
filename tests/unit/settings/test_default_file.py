import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from resizer.settings import SETTINGS, Settings, load_settings

ROOT = Path(__file__).parents[3]
FILE = ROOT / "config" / "default.yaml"
PAGE = ROOT / "docs" / "configuration.md"
TOOL = ROOT / "tools" / "write_configuration.py"


def write_page(*arguments):
    return subprocess.run([sys.executable, TOOL, *arguments], check=False, capture_output=True, text=True)


def test_the_file_of_defaults_names_every_setting_with_its_default():
    """config/default.yaml is complete and true: loading it changes nothing, and no setting is missing."""
    named = {key.replace("-", "_") for key in yaml.safe_load(FILE.read_text())}
    assert named == set(SETTINGS)
    assert load_settings({}, file=str(FILE)) == Settings()


def test_every_setting_has_its_reason_above_it_and_a_line_in_the_help():
    """No key stands without a comment of its own, and none without a description."""
    lines = FILE.read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if line and not line.startswith(("#", " "))]
    assert len(keys) == len(SETTINGS)
    bare = [lines[number] for number in keys if not lines[number - 1].startswith("# ") or "---" in lines[number - 1]]
    assert bare == []
    assert [name for name, setting in SETTINGS.items() if not setting.description] == []


def test_the_page_of_all_settings_is_current():
    """docs/configuration.md is what `make docs` writes now."""
    checked = write_page("--check")
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_the_page_names_every_setting(name):
    """A setting that the page leaves out would be one that nobody finds."""
    assert f"| `{name.replace('_', '-')}` |" in PAGE.read_text()
