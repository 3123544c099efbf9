import io
import json
import logging
import time
import warnings
from collections.abc import Iterator

import pytest
import structlog

from resizer.obs.logs import configure_logs, level_of_verbosity


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, show = list(root.handlers), root.level, warnings.showwarning
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], warnings.showwarning = handlers, show
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_object_a_line_with_its_context():
    """Time, level and event come first; fields of the task's context are in the line."""
    out = io.StringIO()
    configure_logs(stream=out)
    structlog.contextvars.bind_contextvars(driver="a.example.com")
    structlog.get_logger().info("claim.grown", claim="db/data", size_bytes=2**70, part=float("nan"))
    [line] = lines(out)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert (line["level"], line["event"], line["driver"], line["claim"]) == (
        "info",
        "claim.grown",
        "a.example.com",
        "db/data",
    )


@pytest.mark.parametrize("format_", ["json", "console"])
def test_hostile_fields_forge_nothing(format_):
    """No value starts a line of its own, moves the cursor or shows a secret, in either format."""
    out = io.StringIO()
    configure_logs(format_=format_, stream=out)
    structlog.get_logger().warning(
        "driver.failed", error='x\n{"level":"info"}\x1b[2J\u2028\x85' + "y" * 100_000, token="hunter2", raw=b"hunter2"
    )
    text = out.getvalue()
    assert len(text.splitlines()) == 1
    assert "\x1b[2J" not in text
    assert "hunter2" not in text
    assert len(text) < 6000


def test_a_traceback_keeps_its_lines_and_shows_no_locals():
    """An exception is logged with its traceback, bounded, without the values of variables."""
    out = io.StringIO()
    configure_logs(stream=out)
    password = "hunter" + str(2)
    try:
        raise ValueError("broken" + "\x1b" * 100_000)
    except ValueError:
        structlog.get_logger().exception("worker.bug")
    [line] = lines(out)
    assert "Traceback" in str(line["exception"])
    assert "\n" in str(line["exception"])
    assert password not in out.getvalue()
    assert len(str(line["exception"])) < 20_000


@pytest.mark.parametrize(
    ("verbosity", "level"), [(-1, "WARNING"), (0, "INFO"), (3, "INFO"), (4, "DEBUG"), (5, "DEBUG")]
)
def test_verbosity_is_klogs(verbosity, level):
    """-v=5 shows debug lines, as with every Kubernetes program."""
    assert logging.getLevelName(level_of_verbosity(verbosity)) == level


def test_lines_below_the_level_cost_nothing_and_are_not_formatted():
    """A debug line that is off formats no argument: it is far cheaper than one that is written."""

    class Untouchable:
        def __str__(self) -> str:
            raise AssertionError("formatted")

        __repr__ = __str__

    out = io.StringIO()
    configure_logs(stream=out)
    log = structlog.get_logger()
    started = time.process_time()
    for _ in range(10_000):
        log.debug("claim.step", value=Untouchable())
    off_s = time.process_time() - started
    started = time.process_time()
    for _ in range(1000):
        log.info("claim.step", value=1)
    on_s = (time.process_time() - started) * 10
    assert out.getvalue().count("\n") == 1000
    assert off_s < on_s / 2


def test_pythons_own_logging_and_warnings_come_out_alike():
    """What libraries log at warning and above is a line like ours; below it is left out."""
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logs(stream=out)
        configure_logs(stream=out)  # twice: still one line each
        logging.getLogger("aiohttp.server").info("not shown")
        logging.getLogger("asyncio").error("task %s\nfailed", "x")
        warnings.warn("old", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    shown = lines(out)
    assert [(line["logger"], line["level"]) for line in shown] == [("asyncio", "error"), ("py.warnings", "warning")]
    assert shown[0]["message"] == "task x\\nfailed"


def test_a_closed_stream_does_not_raise():
    """Standard error that has been closed loses lines, not resizes."""
    out = io.StringIO()
    configure_logs(stream=out)
    out.close()
    structlog.get_logger().error("claim.failed")
