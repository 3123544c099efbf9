"""The history: what a commit's figures are, and that nothing in it names this machine."""

import os
import socket

import pytest

from bench.compare import checkout, missing
from bench.history import Entry, HistoryError, append, commit_of, entry, figures_of, git, machine, read


def _entry(commit, figures, *, machine="m", changed=False):
    return Entry(commit, "2026-11-24T02:00:00+00:00", machine, 0.5, 3, figures, changed)


@pytest.fixture
def repository(tmp_path):
    """A checkout with one commit that has a src folder."""
    folder = tmp_path / "repository"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_text("A = 1\n")
    git("init", "-q", folder=folder)
    git("add", ".", folder=folder)
    git("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "first", folder=folder)
    return folder


def test_what_was_appended_is_read_again(tmp_path):
    """A line is a run; no file is no run."""
    path = tmp_path / "history.jsonl"
    assert read(path) == []
    lines = [_entry("a", {"cpu_ms": 2.0}), _entry("b", {"cpu_ms": 1.0}, changed=True)]
    for line in lines:
        append(line, path)
    assert read(path) == lines


def test_a_broken_line_is_named(tmp_path):
    """The error says which line to mend, and does not guess."""
    path = tmp_path / "history.jsonl"
    append(_entry("a", {}), path)
    path.write_bytes(path.read_bytes() + b"{broken\n")
    with pytest.raises(HistoryError, match=r"history\.jsonl, line 2: .*mend it or take it out"):
        read(path)


def test_a_commits_figures_are_the_newest_of_its_own_source_on_this_machine():
    """Another machine's figures, and those of a tree with changes, are never taken for a commit's."""
    lines = [
        _entry("a", {"cpu_ms": 3.0, "rate": 100.0}),
        _entry("a", {"cpu_ms": 2.0}),
        _entry("a", {"cpu_ms": 9.0}, machine="another"),
        _entry("a", {"cpu_ms": 8.0}, changed=True),
        _entry("b", {"cpu_ms": 7.0}),
    ]
    assert figures_of(lines, commit="a", machine="m") == {"cpu_ms": 2.0, "rate": 100.0}
    assert figures_of(lines, commit="c", machine="m") == {}


def test_a_line_says_whether_the_source_was_the_commits(repository):
    """Figures of a tree with uncommitted changes carry that mark."""
    assert entry({"cpu_ms": 1.23456789}, source=repository, runs=1, load=0.123).changed is False
    (repository / "src" / "a.py").write_text("A = 2\n")
    line = entry({"cpu_ms": 1.23456789}, source=repository, runs=1, load=0.123)
    assert line.changed is True
    assert line.figures == {"cpu_ms": 1.2346}
    assert line.commit == git("rev-parse", "HEAD", folder=repository)


def test_an_unknown_commit_is_named(repository):
    """The error names what was typed and where to look."""
    with pytest.raises(HistoryError, match="there is no commit 'nosuch'; git log shows them"):
        commit_of("nosuch", folder=repository)


def test_the_machine_is_described_without_being_named():
    """What is committed tells cores and processor, and neither host nor user nor path."""
    text = machine()
    assert f"{len(os.sched_getaffinity(0))} cores" in text
    assert socket.gethostname() not in text.split()
    assert "/" not in text


def test_a_commit_is_checked_out_beside_the_tree_and_taken_away_again(repository, monkeypatch):
    """Measuring another commit leaves neither a folder nor a word in git's list of work trees."""
    monkeypatch.setattr("bench.compare._HERE", repository)
    commit = commit_of("HEAD", folder=repository)
    (repository / "src" / "a.py").write_text("A = 2\n")
    with checkout(commit) as folder:
        assert (folder / "src" / "a.py").read_text() == "A = 1\n"
    assert not folder.exists()
    assert len(git("worktree", "list", folder=repository).splitlines()) == 1


def test_only_what_the_history_lacks_is_measured():
    """A commit with figures of one benchmark is measured by the others, and not by that one again."""
    assert missing({"lone_p50_ms": 12.0, "default_100_s": 1.0}, ["lone", "thousand", "defaults"]) == ["thousand"]
    assert missing({}, ["lone"]) == ["lone"]
