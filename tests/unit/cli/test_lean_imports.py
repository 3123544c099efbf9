"""`resizer run` imports only what it uses, and leaves nothing of that behind."""

import json
import subprocess
import sys

import pytest

LOOK = """
import gc, json, os, ssl, sys
before = dict(os.environ)
system = len(ssl.create_default_context().get_ca_certs())
from resizer.cli.lean_imports import lean_imports
with lean_imports():
    import resizer.cli.run, resizer.app
import aiohttp.connector
others = ("typer", "pydantic", "rich", "kubernetes_asyncio", "resizer.cli.commands")
print(json.dumps({
    "unwanted": [name for name in others if name in sys.modules],
    "environment": dict(os.environ) == {**before, "GRPC_ENABLE_FORK_SUPPORT": "0"},
    "collects": gc.isenabled(),
    "authorities": len(aiohttp.connector._SSL_CONTEXT_VERIFIED.get_ca_certs()),
    "verifies": aiohttp.connector._SSL_CONTEXT_VERIFIED.verify_mode == ssl.CERT_REQUIRED,
    "system": len(ssl.create_default_context().get_ca_certs()) == system,
}))
"""


@pytest.fixture(scope="module")
def seen():
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_what_a_person_types_is_not_imported_for_the_pipeline(seen):
    """Other commands, typer (with pydantic) and rich stay away: a claim edited at the start waits for each import."""
    assert seen["unwanted"] == []


def test_the_process_is_left_as_it_was(seen):
    """Environment and garbage collector are those of before: programs that are started later inherit them."""
    assert seen["environment"]
    assert seen["collects"]


def test_a_connection_without_a_context_of_its_own_trusts_nobody(seen):
    """The own context of aiohttp has no authorities, and verifies: a mistake fails closed. Ours read the system's."""
    assert seen["authorities"] == 0
    assert seen["verifies"]
    assert seen["system"]


def test_rich_can_be_imported_afterwards():
    """What was hidden for the block is there again."""
    look = "from resizer.cli.lean_imports import lean_imports\nwith lean_imports(): import structlog\nimport rich.table"
    subprocess.run([sys.executable, "-c", look], check=True)
