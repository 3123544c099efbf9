"""docs/commands.md and the causes."""

import re
from pathlib import Path

from tests.unit.explain.test_explanation import CASES


def test_every_cause_is_documented_and_every_documented_one_is_real():
    """Scripts rely on the causes' names: the document's table and the table of cases hold the same ones."""
    text = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
    table = text.partition("| cause | what it means |")[2].partition("\n\n")[0]
    first_cells = [row.split("|")[1] for row in table.strip().splitlines()]
    documented = {name for cell in first_cells for name in re.findall(r"`([a-z-]+)`", cell)}
    assert documented == set(CASES) | {"unknown"}
