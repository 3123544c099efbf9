"""Imports libraries without what the programs that serve (`run`, `node`) never use of them: a sixth of their start.

Nothing here is needed to be correct: without it all works the same, later. Only for the main thread, before there are
others.
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NOWHERE: Final = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}


@contextmanager
def lean_imports() -> Iterator[None]:
    """Have what is imported in the block do without two things.

    structlog imports rich for tracebacks in colour; ours are written by obs.logs. aiohttp makes two TLS contexts at
    once and reads the system's hundred and forty authorities for each; every connection of ours brings a context of
    its own (kube.tls), and one that did not would trust nobody. And nothing is collected meanwhile: what an import
    makes stays.
    """
    before = {name: os.environ.get(name) for name in NOWHERE}
    gc.disable()
    hides_rich = "rich" not in sys.modules
    os.environ.update(NOWHERE)
    if hides_rich:
        sys.modules["rich"] = None  # type: ignore[assignment]  # the import system's own way to say: not there
    try:
        yield
    finally:
        if hides_rich:
            del sys.modules["rich"]
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        gc.enable()
