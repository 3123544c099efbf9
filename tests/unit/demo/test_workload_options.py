"""What `--workload mysql` can be asked for, and what is refused before anything is started."""

import msgspec
import pytest

from resizer.demo.options import Options
from resizer.demo.parts import DemoError, DemoUsageError
from resizer.demo.workload import mariadb
from resizer.demo.workload.options import MysqlOptions, check_mysql_options, choose_database, default_growths
from resizer.model.quantity import parse_bytes

GIB = 1024**3
BASE = Options(size_bytes=300 * GIB, growths_bytes=(400 * GIB,))


def test_it_is_mounted_or_not_at_all():
    """A database needs a mounted filesystem: `auto` becomes loop, and nothing falls back to an image."""
    assert check_mysql_options(MysqlOptions(base=BASE)).base.backend == "loop"


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"claims": 2}, "--claims"),
        ({"backend": "image"}, "--backend image"),
        ({"keep": True}, "--hold"),
        ({"size_bytes": GIB - 1}, "--size"),
    ],
)
def test_refusal_names_the_flag(change, flag):
    """Flags of every demo that cannot be meant here are refused by name."""
    base = msgspec.structs.replace(BASE, **change)
    with pytest.raises(DemoUsageError, match=flag):
        check_mysql_options(MysqlOptions(base=base))


@pytest.mark.parametrize(
    ("change", "flag"),
    [({"runs": 0}, "--runs 0"), ({"window_s": 0.1}, "--window 0.1"), ({"runs": 2, "hold": True}, "--hold")],
)
def test_own_flags_are_checked_too(change, flag):
    """Numbers out of range, and two wishes at odds."""
    with pytest.raises(DemoUsageError, match=flag):
        check_mysql_options(MysqlOptions(base=BASE, **change))


def test_small_claims_grow_by_the_same_ratio():
    """300 to 400 to 500, and 3Gi to 4 to 5; what does not divide is rounded up to whole MiB."""
    assert default_growths(300 * GIB, default_size_bytes=300 * GIB) == ("400Gi", "500Gi")
    sizes = default_growths(3 * GIB, default_size_bytes=300 * GIB)
    assert [parse_bytes(size) for size in sizes] == [4 * GIB, 5 * GIB]
    assert default_growths(GIB, default_size_bytes=300 * GIB) == ("1366Mi", "1707Mi")


def test_without_mariadb_sqlite_takes_its_place_and_says_why(monkeypatch):
    """`auto` falls back with the packages by name; who insists is told what to install."""
    monkeypatch.setattr(mariadb, "find_program", lambda name: None if name == "mariadbd" else name)
    name, reason = choose_database("auto")
    assert name == "sqlite"
    assert "mariadb-server is not installed" in reason
    with pytest.raises(DemoError, match=r"mariadb-server is not installed; install it"):
        choose_database("mariadb")


def test_mariadb_says_whom_it_stands_in_for(monkeypatch):
    """It is not the article's MySQL 5.7, and the report says so."""
    monkeypatch.setattr(mariadb, "find_program", lambda name: name)
    assert choose_database("auto") == ("mariadb", "MariaDB stands in for MySQL 5.7, which no package source here has")
