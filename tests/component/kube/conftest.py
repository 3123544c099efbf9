"""No event loop of its own for the main thread.

pytest-asyncio saves the thread's loop around each asynchronous test, and asking for one that was never set makes
one that nobody closes: a ResourceWarning in whichever test the collector runs next.
"""

import asyncio

asyncio.set_event_loop(None)
