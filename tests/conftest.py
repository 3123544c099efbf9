"""What every test shares."""

import asyncio


def pytest_configure() -> None:
    """Have no event loop lie around before the first test: one nobody closes is a warning, and warnings are errors."""
    asyncio.set_event_loop(None)
