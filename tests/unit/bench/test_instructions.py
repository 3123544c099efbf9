"""What valgrind says."""

import pytest

from bench.instructions import counted_in
from bench.process import BenchError


def test_the_count_is_read():
    """With its thousands separated."""
    assert counted_in("==12== \n==12== I refs:        1,825,734,002\n") == 1_825_734_002


def test_a_log_without_a_count_is_shown():
    """The program ended before it began, say."""
    with pytest.raises(BenchError, match="cannot open shared object"):
        counted_in("==12== python: cannot open shared object")
