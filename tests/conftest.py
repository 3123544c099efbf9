"""What every test shares."""

import asyncio
import signal

from hypothesis import settings


def pytest_configure() -> None:
    """Begin each session alike, whoever started it.

    Have no event loop lie around before the first test: one nobody closes is a warning, and warnings are errors.
    A shell that runs us in the background has us ignore Ctrl-C, and programs that tests start would inherit that.
    How long one example takes is the machine's business, and no finding.
    """
    settings.register_profile("resizer", deadline=None)
    settings.load_profile("resizer")
    asyncio.set_event_loop(None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
