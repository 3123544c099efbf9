"""A volume's whole life, killed at every step: run as a program by test_crash.py.

One process forks a child for each step: the child lives the life and is killed with SIGKILL at its N-th step (a
write of the bookkeeping, a program run, a change of a loop device or of a file; before it and after it). A second
child then does what a kubelet does: it starts the driver again, repeats the call that got no answer and goes on
to the end. Prints one JSON object: how many steps there were, and every broken promise found.

Arguments: folder, backend, filesystem ("" for a block volume).
"""

import asyncio
import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resizer.driver import command, image_file, loop_device, mount
from resizer.driver.backend import Choice
from resizer.driver.controller import Controller
from resizer.driver.guard import Guard
from resizer.driver.node import Node
from resizer.driver.recovery import recover
from resizer.driver.service import make_backend
from resizer.driver.size import Pool
from resizer.driver.state import locked_state, volume_folder
from resizer.driver.volumes import VolumeBook
from resizer.rpc.pb import csi_v1_pb2 as pb

GIB = 1024**3
Mode = pb.VolumeCapability.AccessMode


class Countdown:
    """Kills this process at the `remaining`-th step."""

    def __init__(self, remaining: int) -> None:
        self.remaining = remaining

    def step(self) -> None:
        self.remaining -= 1
        if self.remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def killed_around(*args: Any, **kwargs: Any) -> Any:
            self.step()
            result = function(*args, **kwargs)
            self.step()
            return result

        return killed_around

    def around_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def killed_around(*args: Any, **kwargs: Any) -> Any:
            self.step()
            result = await function(*args, **kwargs)
            self.step()
            return result

        return killed_around


def arm(countdown: Countdown) -> None:
    """Let the countdown see every durable or kernel-side step of the driver."""
    command.run = countdown.around_coroutine(command.run)
    VolumeBook._write = countdown.around_coroutine(VolumeBook._write)  # type: ignore[method-assign]
    for module, names in (
        (loop_device, ("attach", "detach", "refresh_size")),
        (image_file, ("make", "grow", "remove")),
    ):
        for name in names:
            setattr(module, name, countdown.around(getattr(module, name)))


class Life:
    """The calls of one volume's life, each of which may be repeated."""

    def __init__(self, place: Path, fs_type: str, controller: Controller, node: Node) -> None:
        self.place, self.controller, self.node = place, controller, node
        self.staging, self.target = str(place / "staging"), str(place / "pods/mount")
        access = Mode(mode=Mode.SINGLE_NODE_WRITER)
        self.capability = (
            pb.VolumeCapability(mount=pb.VolumeCapability.MountVolume(fs_type=fs_type), access_mode=access)
            if fs_type
            else pb.VolumeCapability(block=pb.VolumeCapability.BlockVolume(), access_mode=access)
        )

    def calls(self) -> list[Callable[[str], Any]]:
        return [
            self.create,
            lambda v: self.controller.controller_publish_volume(
                pb.ControllerPublishVolumeRequest(volume_id=v, node_id="n", volume_capability=self.capability)
            ),
            lambda v: self.node.node_stage_volume(
                pb.NodeStageVolumeRequest(
                    volume_id=v, staging_target_path=self.staging, volume_capability=self.capability
                )
            ),
            lambda v: self.node.node_publish_volume(
                pb.NodePublishVolumeRequest(
                    volume_id=v,
                    staging_target_path=self.staging,
                    target_path=self.target,
                    volume_capability=self.capability,
                )
            ),
            self.expand,
            lambda v: self.node.node_expand_volume(pb.NodeExpandVolumeRequest(volume_id=v, volume_path=self.target)),
            lambda v: self.node.node_unpublish_volume(
                pb.NodeUnpublishVolumeRequest(volume_id=v, target_path=self.target)
            ),
            lambda v: self.node.node_unstage_volume(
                pb.NodeUnstageVolumeRequest(volume_id=v, staging_target_path=self.staging)
            ),
            lambda v: self.controller.controller_unpublish_volume(
                pb.ControllerUnpublishVolumeRequest(volume_id=v, node_id="n")
            ),
            lambda v: self.controller.delete_volume(pb.DeleteVolumeRequest(volume_id=v)),
        ]

    async def create(self, _: str) -> str:
        request = pb.CreateVolumeRequest(
            name="life",
            capacity_range=pb.CapacityRange(required_bytes=GIB),
            volume_capabilities=[self.capability],
            secrets={"key": "s3cr3t"},
        )
        return (await self.controller.create_volume(request)).volume.volume_id

    async def expand(self, volume_id: str) -> None:
        request = pb.ControllerExpandVolumeRequest(
            volume_id=volume_id,
            capacity_range=pb.CapacityRange(required_bytes=2 * GIB),
            secrets={"key": "s3cr3t"},
        )
        answer = await self.controller.controller_expand_volume(request)
        assert answer.capacity_bytes == 2 * GIB, answer


PUBLISHED, EXPANDED, GROWN, UNPUBLISHED = 4, 5, 6, 7  # calls answered by then


def check_data(life: Life, *, answered: int, fs_type: str) -> None:
    """Write a marker when the volume is first published, and find it from then on."""
    if not fs_type or not PUBLISHED <= answered < UNPUBLISHED:
        return
    marker = Path(life.staging) / "marker"  # the same filesystem, and not gone in an unpublish half done
    if answered == PUBLISHED:
        marker.write_text("kept")
        os.sync()
    assert marker.read_text() == "kept", "data lost"
    if answered >= GROWN:
        figures = os.statvfs(life.staging)
        assert figures.f_blocks * figures.f_frsize > 1.9 * GIB, "not grown"


async def live(place: Path, *, backend_name: Any, fs_type: str, kill_at: int) -> None:
    """Go through the life from where the progress file says; it is killed at step `kill_at` (0: never)."""
    progress = place / "progress"
    answered, _, volume_id = progress.read_text().partition(" ") if progress.exists() else ("0", "", "")
    arm(Countdown(kill_at))
    async with locked_state(place / "state") as state_dir:
        book = VolumeBook(state_dir / "volumes.db")
        backend = make_backend(Choice(backend_name, ""), state_dir)
        await recover(book, backend)
        guard = Guard()
        pool = Pool(book=book, folder=volume_folder(state_dir), limit_bytes=2 * GIB)
        life = Life(
            place,
            fs_type,
            Controller(
                book=book, backend=backend, pool=pool, guard=guard, nodes=frozenset({"n"}), require_secrets=True
            ),
            Node(book=book, backend=backend, guard=guard, node_id="n"),
        )
        if backend_name == "loop":
            check_data(life, answered=int(answered), fs_type=fs_type)
        for number, call in enumerate(life.calls()[int(answered) :], start=int(answered) + 1):
            result = await call(volume_id)
            volume_id = result if isinstance(result, str) else volume_id
            if backend_name == "loop":
                check_data(life, answered=number, fs_type=fs_type)
            progress.write_text(f"{number} {volume_id}")
        assert not book.in_order(), "a volume is left in the book"
        book.close()


def in_child(place: Path, *, backend: str, fs_type: str, kill_at: int) -> int:
    """Live in a forked child; return its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(live(place, backend_name=backend, fs_type=fs_type, kill_at=kill_at))
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 -- the child ends here, and the parent reads why
            sys.stderr.write(f"step {kill_at}: {error!r}\n")
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left_standing(place: Path) -> list[str]:
    mounts = [entry.mount_point for entry in mount.read_mounts() if entry.mount_point.startswith(f"{place}/")]
    devices = [device.path for device in loop_device.list_attached(volume_folder(place / "state"))]
    files = [str(path) for path in volume_folder(place / "state").iterdir()]
    pods = [str(path) for path in (place / "pods").iterdir()]
    return mounts + devices + files + pods


def main(place: Path, backend: str, fs_type: str) -> dict[str, object]:
    problems: list[str] = []
    step = 0
    while True:
        step += 1
        for folder in ("staging", "pods"):
            (place / folder).mkdir(exist_ok=True)
        (place / "progress").unlink(missing_ok=True)
        ended = in_child(place, backend=backend, fs_type=fs_type, kill_at=step)
        if ended == 0:
            return {"steps": step - 1, "problems": problems}
        if ended != -signal.SIGKILL:
            problems.append(f"step {step}: ended {ended} before it was killed")
        recovered = in_child(place, backend=backend, fs_type=fs_type, kill_at=0)
        if recovered != 0 or (left := left_standing(place)):
            problems.append(f"step {step}: recovery ended {recovered}, left {left if recovered == 0 else '?'}")
            return {"steps": step, "problems": problems}
        if b"s3cr3t" in b"".join(path.read_bytes() for path in (place / "state").glob("volumes.db*")):
            problems.append(f"step {step}: the secret stands in the bookkeeping")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])) + "\n")
