"""One stage a test."""

import pytest

from tests.component.cli.stage import staged


@pytest.fixture
async def stage(tmp_path):
    async with staged(tmp_path) as made:
        yield made
