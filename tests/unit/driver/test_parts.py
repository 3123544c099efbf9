import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from grpc import StatusCode

from resizer.driver import command
from resizer.driver.endpoint import snake_case
from resizer.driver.failure import CallError, from_os_error
from resizer.driver.guard import Guard
from resizer.driver.listing import page, parse_token
from resizer.driver.secret import mark_secret, secret_matches
from resizer.driver.volumes import StateDamagedError, Volume, VolumeBook
from resizer.rpc.pb import csi_v0_pb2, csi_v1_pb2


def volume(number: int) -> Volume:
    return Volume(
        volume_id=f"v{number}",
        name=f"n{number}",
        sequence=number,
        state="ready",
        capacity_bytes=1,
        access="mount",
        fs_type="xfs",
        parameters={},
    )


def test_names_of_rpcs() -> None:
    """Every RPC of both protocols has a method's name of its own, acronyms included."""
    assert snake_case("RequiresFSResize") == "requires_fs_resize"
    assert snake_case("NodeGetVolumeStats") == "node_get_volume_stats"
    for file in (csi_v0_pb2, csi_v1_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            names = [snake_case(method.name) for method in service.methods]
            assert len(set(names)) == len(names)
            assert all(name.isidentifier() and name == name.lower() for name in names)


def test_pages_meet() -> None:
    """Pages of any size, followed by their tokens, give every volume once."""
    volumes = [volume(number) for number in range(1, 8)]
    for limit in range(9):
        seen, token = [], ""
        while True:
            found, token = page(volumes, after=parse_token(token), limit=limit)
            seen += found
            if not token:
                break
        assert seen == volumes


@pytest.mark.parametrize("token", ["x", "after-", "after--1", "after-1 ", "after-٣", "after-" + "9" * 30])
def test_tokens_of_others(token: str) -> None:
    """A token that was not given out here is ABORTED, which tells the caller to begin again."""
    with pytest.raises(CallError) as refused:
        parse_token(token)
    assert refused.value.code == StatusCode.ABORTED


def test_secret_is_known_again_but_not_kept() -> None:
    """The right secret matches in any order of its keys, no other does, and equal secrets have unequal marks."""
    secret = {"user": "u", "key": "s3cr3t"}
    mark = mark_secret(secret)
    assert mark is not None
    assert secret_matches({"key": "s3cr3t", "user": "u"}, mark)
    for wrong in ({}, {"key": "s3cr3t"}, {**secret, "key": "S3cr3t"}, {**secret, "more": ""}):
        assert not secret_matches(wrong, mark)
    assert "s3cr3t" not in repr(mark)
    assert mark_secret(secret) != mark
    assert mark_secret({}) is None
    assert secret_matches({}, None)
    assert not secret_matches(secret, None)


async def test_guard_lets_one_in_and_finishes_for_a_caller_that_left() -> None:
    """The second operation on a key is ABORTED; a cancelled caller's operation still ends, and frees the key."""
    guard, gate, ended = Guard(), asyncio.Event(), asyncio.Event()

    async def operation() -> None:
        await gate.wait()
        ended.set()

    async def other() -> str:
        return "done"

    first = asyncio.create_task(guard.run("a", operation))
    await asyncio.sleep(0)
    with pytest.raises(CallError) as refused:
        await guard.run("a", other)
    assert refused.value.code == StatusCode.ABORTED
    assert await guard.run("b", other) == "done"
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not ended.is_set()
    gate.set()
    await guard.wait_idle()
    assert ended.is_set()
    assert await guard.run("a", other) == "done"


async def test_command_tells_how_it_ended() -> None:
    """A program that is missing, fails, runs too long or finds the disk full is each told apart."""
    with pytest.raises(CallError, match="Debian package") as missing:
        await command.run("no-such-program-here")
    assert missing.value.code == StatusCode.FAILED_PRECONDITION
    with pytest.raises(CallError, match=r"within 0\.05 s") as late:
        await command.run("sleep", "60", timeout_s=0.05)
    assert late.value.code == StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(CallError, match="words") as failed:
        await command.check("sh", "-c", "echo words >&2; exit 3")
    assert failed.value.code == StatusCode.INTERNAL
    with pytest.raises(CallError) as full:
        await command.check("sh", "-c", "cat /proc/self/status > /dev/full")
    assert full.value.code == StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (28, StatusCode.RESOURCE_EXHAUSTED),
        (122, StatusCode.RESOURCE_EXHAUSTED),
        (27, StatusCode.OUT_OF_RANGE),
        (5, StatusCode.INTERNAL),
    ],
)
def test_os_errors(number: int, code: StatusCode) -> None:
    """A full disk can be retried, a file too large for the disk never can."""
    assert from_os_error(OSError(number, os.strerror(number)), doing="x").code == code


async def test_book_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    """What was put is there after opening again, in order of creation; what was removed is not."""
    path = tmp_path / "volumes.db"
    book = VolumeBook(path)
    for number in (2, 1, 3):
        await book.put(volume(number))
    await book.remove("v2")
    book.close()
    again = VolumeBook(path)
    assert again.in_order() == [volume(1), volume(3)]
    assert again.named("n3") == volume(3)
    assert again.next_sequence() == 4
    again.close()


def test_book_of_a_newer_driver_is_refused(tmp_path: Path) -> None:
    """A book with a schema from the future is not touched."""
    path = tmp_path / "volumes.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StateDamagedError, match="newer driver"):
        VolumeBook(path)
