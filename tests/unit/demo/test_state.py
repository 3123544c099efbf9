"""Runs have folders of their own; only those that nobody holds are taken down."""

import pytest

from resizer.demo import state
from resizer.demo.parts import DemoError


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return state.choose_root()


async def release_nothing(_folder):
    return ()


async def test_running_runs_are_left_alone_and_abandoned_ones_removed(root):
    """A held lock protects a run; a folder without its holder is released first and then removed."""
    released = []

    async def release(folder):
        released.append(folder)
        return ()

    with state.own_run(root) as run:
        abandoned = root / "abc123"
        (abandoned / "driver").mkdir(parents=True)
        (abandoned / "lock").write_text("1\n")
        lines = await state.clean_remains(release)
        assert run.is_dir()
        assert not abandoned.exists()
    assert released == [abandoned / "driver"]
    assert len(lines) == 1
    assert str(abandoned) in lines[0]
    assert not root.exists()


async def test_nothing_left_says_nothing(root):
    """Without remains nothing is said and nothing made."""
    assert await state.clean_remains(release_nothing) == []
    assert not root.exists()


async def test_folder_below_which_something_is_mounted_stays(root, monkeypatch):
    """What could not be unmounted is never deleted from: the folder stays, and the line says why."""
    (root / "abc123").mkdir(parents=True)
    (root / "abc123/precious").touch()
    monkeypatch.setattr(state, "held_by_kernel", lambda folder: [f"{folder}/kubelet/x is mounted"])
    (line,) = await state.clean_remains(release_nothing)
    assert "cannot be removed yet" in line
    assert (root / "abc123/precious").exists()


def test_folder_that_is_a_link_is_not_used(root, tmp_path):
    """A link somebody put in the folder's place is refused, with the next step."""
    (tmp_path / "elsewhere").mkdir()
    root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DemoError, match="belongs to somebody else"), state.own_run(root):
        pass
