"""Requests with a body, written by hand: five of them make a growth.

What aiohttp's session makes of each (objects for whatever HTTP can do, a task to send the body) was two fifths of all
CPU. Here the head is put together once for each state of the credentials (docs/adr/0010).

Not for what goes through a proxy; nor for what has no body, which a session tries again on a connection that the
server had just closed.
"""

from multidict import CIMultiDict
from yarl import URL

from resizer.kube.credentials import Access
from resizer.kube.pool import Pool
from resizer.kube.request import Answer, Request


class Exchange:
    """Exchanges with one server, with one state of the credentials."""

    def __init__(self, pool: Pool, access: Access, headers: CIMultiDict[str]) -> None:
        self.access = access
        self._pool = pool
        server = URL(access.server, encoded=True)
        self._prefix = server.raw_path.rstrip("/")
        lines = [("Host", server.host_port_subcomponent), *headers.items()]
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines)

    async def ask(self, request: Request, body: bytes) -> Answer:
        """Send it once, and read the answer. Raises ClientError or OSError when there is none."""
        head = (
            f"{request.method} {self._prefix}{request.target} HTTP/1.1\r\n{self._head}"
            f"Content-Type: {request.content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        connection = await self._pool.take()
        try:
            answer = await connection.ask(head + body, max_bytes=request.max_bytes)
        except BaseException:
            self._pool.give_up(connection)
            raise
        self._pool.put_back(connection)
        return answer
