"""Conversations recorded on a real kube-apiserver, held against this one.

Each line of a file is a step: a request and the answer that the real server gave. `<uid:1>`, `<rv:3>` and
`<continue:2>` stand for values that a server makes up; one placeholder means one value throughout a file, and versions
keep their order. `<time>` and `<any>` stand for any text of that sort. The recorded answer is a lower bound for
objects and exact for lists.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from resizer.devcluster.apiserver import ApiServer

FILES = sorted((Path(__file__).parents[2] / "data" / "apiserver-transcripts").glob("*.jsonl"))
MEDIA = {
    None: "application/json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "jsonpatch": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
MADE_UP = re.compile(r"<(uid|rv|continue):(\d+)>")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"


class Values:
    """What this run's server made up, by placeholder."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def put_into(self, node: Any) -> Any:
        if isinstance(node, dict):
            return {key: self.put_into(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self.put_into(value) for value in node]
        if isinstance(node, str):
            return MADE_UP.sub(lambda mark: self.known.get(mark[0], mark[0]), node)
        return node

    def compare(self, want: Any, got: Any, where: str = "") -> Iterator[str]:
        """Yield every difference, learning placeholders on the way."""
        if isinstance(want, dict) and isinstance(got, dict):
            for key, value in want.items():
                if key in got:
                    yield from self.compare(value, got[key], f"{where}.{key}")
                else:
                    yield f"{where}.{key} is missing, want {value!r}"
        elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
            for index, value in enumerate(want):
                yield from self.compare(value, got[index], f"{where}[{index}]")
        elif isinstance(want, str) and isinstance(got, str) and "<" in want:
            yield from self._compare_text(want, got, where)
        elif want != got or isinstance(want, bool) is not isinstance(got, bool):
            yield f"{where}: want {want!r}, got {got!r}"

    def _compare_text(self, want: str, got: str, where: str) -> Iterator[str]:
        mark = MADE_UP.fullmatch(want)
        if mark is None:
            pattern = re.escape(want).replace("<any>", ".*").replace("<time>", TIME)
            if not re.fullmatch(MADE_UP.sub(".+", pattern), got, re.DOTALL):
                yield f"{where}: want {want!r}, got {got!r}"
        elif want in self.known:
            if self.known[want] != got:
                yield f"{where}: {want} was {self.known[want]}, is now {got}"
        elif not got:
            yield f"{where}: {want} is empty"
        else:
            self.known[want] = got
            if mark[1] == "rv" and not self._in_order():
                yield f"{where}: {want} = {got} is out of order among {self.known}"

    def _in_order(self) -> bool:
        versions = [(int(key[4:-1]), int(value)) for key, value in self.known.items() if key.startswith("<rv:")]
        numbers = [value for _, value in sorted(versions)]
        return numbers == sorted(numbers)


async def send(session: aiohttp.ClientSession, server: ApiServer, request: dict[str, Any]) -> tuple[int, Any]:
    body = request.get("body")
    data = None if body is None else body if isinstance(body, str) else json.dumps(body)
    headers = {"Accept": "application/json", "Authorization": f"Bearer {server.token}"}
    if data is not None:
        headers["Content-Type"] = MEDIA.get(request.get("type"), request.get("type") or "")
    headers |= request.get("headers", {})
    url = server.url + request["path"]
    async with session.request(request["method"], url, data=data, headers=headers) as response:
        text = await response.text()
    if "watch=1" in request["path"]:
        return response.status, [json.loads(line) for line in text.splitlines() if line]
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text


async def replay(file: Path, server: ApiServer) -> list[str]:
    values, differences = Values(), []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        for line in (await asyncio.to_thread(file.read_text)).splitlines():
            step = json.loads(line)
            want = step["response"]
            status, got = await send(session, server, values.put_into(step["request"]))
            found = [] if status == want["status"] else [f"status: want {want['status']}, got {status}: {got}"]
            if want["body"] is not None:
                found += values.compare(want["body"], got)
            differences += [f"{step['step']}: {difference}" for difference in found]
    return differences


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_recorded_conversation_agrees(file: Path, server: ApiServer) -> None:
    """Every step of the recording has the same answer here, word for word."""
    assert await replay(file, server) == []


def test_all_recordings_are_here() -> None:
    """The recordings are complete: seven files, 220 steps."""
    assert sum(len(file.read_text().splitlines()) for file in FILES) == 220
    assert len(FILES) == 7


async def test_replay_notices_a_difference(server: ApiServer, tmp_path: Path) -> None:
    """The replayer itself can fail: a step that asks for something else is reported."""
    step = json.loads(FILES[0].read_text().splitlines()[0])
    step["response"]["body"]["metadata"]["labels"] = {"not": "there"}
    changed = tmp_path / "changed.jsonl"
    await asyncio.to_thread(changed.write_text, json.dumps(step))
    assert await replay(changed, server) == ["create namespace: .metadata.labels.not is missing, want 'there'"]
