"""What the demo can be asked for, and what is refused before anything is started."""

import pytest

from resizer.demo.options import check_options
from resizer.demo.parts import DemoUsageError

GIB = 1024**3


def check(**flags):
    defaults = {
        "size": "300Gi",
        "growths": ("400Gi", "500Gi"),
        "claims": 1,
        "filesystem": "",
        "backend": "auto",
        "keep": False,
        "json": False,
        "http_port": 0,
    }
    return check_options(**{**defaults, **flags})


def test_sizes_are_read_in_every_notation():
    """Sizes are Kubernetes quantities; a smaller growth is not refused here, for the API server shall say it."""
    options = check(size="2e9", growths=["3G", "1Gi"])
    assert (options.size_bytes, options.growths_bytes) == (2 * 10**9, (3 * 10**9, GIB))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"filesystem": "zfs"}, "no such filesystem here; use one of xfs, btrfs, ext4"),
        ({"growths": ["4q"]}, "--grow '4q' is not a quantity"),
        ({"size": "-1Gi"}, "a size lies between 0 and"),
        ({"size": "0"}, "a size must be greater than zero"),
        ({"size": "100Mi"}, "--size 100Mi: give 1Gi or more"),
        (
            {"size": "1Gi", "growths": ["2Gi", "2049Mi"]},
            "--grow 2049Mi: give at least 64Mi more than the 2Gi before it",
        ),
        ({"claims": 0}, "--claims 0"),
        ({"claims": 501}, "--claims 501"),
        ({"http_port": 70000}, "--http-port 70000"),
        ({"backend": "image", "filesystem": "xfs"}, "use --fs ext4"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_flag(flags, words):
    """The line names the flag and says what could be given instead; the exit code is 2."""
    with pytest.raises(DemoUsageError) as caught:
        check(**flags)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
