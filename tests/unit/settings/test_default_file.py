from pathlib import Path

import yaml

from resizer.settings import Settings, load_settings

FILE = Path(__file__).parents[3] / "config" / "default.yaml"


def test_the_file_of_defaults_names_every_setting_with_its_default():
    """config/default.yaml is complete and true: loading it changes nothing, and no setting is missing."""
    named = {key.replace("-", "_") for key in yaml.safe_load(FILE.read_text())}
    assert named == set(Settings.model_fields)
    assert load_settings({}, file=str(FILE)).model_dump() == Settings().model_dump()
