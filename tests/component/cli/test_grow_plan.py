"""Plans, as decisions; and what a terminal shows of a run."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from resizer.cli.grow_display import Bars, Lines
from resizer.cli.grow_plan import Growth, make_plan, present_size, read_growth
from resizer.explain.facts import ClassFacts, Quota
from resizer.model.objects import Claim
from resizer.model.quantity import format_bytes, parse_bytes

GIB, MIB = 2**30, 2**20
GOLD = {"gold": ClassFacts("gold", allows_growth=True)}


def claim(name="data-0", *, requested="300Gi", capacity="300Gi", phase="Bound"):
    return Claim(
        namespace="db",
        name=name,
        uid=name,
        version="1",
        phase=phase,
        storage_class="gold",
        requested=requested,
        capacity=capacity,
    )


@pytest.mark.parametrize(
    ("to", "by", "size"),
    [
        ("400Gi", "", 400 * GIB),
        ("0.4Ti", "", 439804651111),
        ("", "20%", 360 * GIB),
        ("", "0.001%", 300 * GIB + 4 * MIB),
        ("", "12.5%", 345600 * MIB),
        ("", "50Gi", 350 * GIB),
    ],
)
def test_sizes_are_exact(to, by, size):
    """A size is taken as it is; a part is exact, rounded up to whole MiB, with no float in between."""
    bytes_, text = read_growth(to, by).size_of(claim())
    assert bytes_ == size
    assert parse_bytes(text) == size


@given(st.integers(1, 2**50), st.integers(1, 1000))
def test_a_part_more_is_never_less(size, percent):
    """Whatever the size, a part more is at least that part more, and less than a MiB beyond it."""
    wanted = size * (100 + percent)
    grown, text = read_growth("", f"{percent}%").size_of(claim(requested=str(size), capacity=str(size)))
    assert wanted <= grown * 100 < wanted + 100 * MIB
    assert (grown % MIB, parse_bytes(text)) == (0, grown)


NONSENSE = [("", ""), ("1Gi", "1%"), ("0", ""), ("-1Gi", ""), ("x", "")]
NONSENSE += [("", part) for part in ("0%", "99999%", "%", "-1", "x" * 5000, "20", "400")]


@pytest.mark.parametrize(("to", "by"), NONSENSE)
def test_nonsense_is_one_short_line(to, by):
    """What is no growth is refused in one short line."""
    with pytest.raises(ValueError, match=r"^.{1,300}$"):
        read_growth(to, by)


def test_what_a_claim_has_is_not_what_it_asks_for(capsys):
    """Of a claim that is stuck on its way it is said what it has, in the first place."""
    for to in ("400Gi", "500Gi"):
        for entry in make_plan([claim(requested="400Gi")], Growth(to=to), classes=GOLD, quotas={}).entries:
            Lines().asked(entry)
    assert capsys.readouterr().out.splitlines() == [
        "db/data-0: asks already for 400Gi (has 300Gi)",
        "db/data-0: asks for 500Gi (asked for 400Gi, had 300Gi)",
    ]


def test_a_growth_under_way_counts_as_present():
    """What a claim asks for already, or was given beyond it, is never gone below."""
    assert present_size(claim(requested="400Gi")) == 400 * GIB
    assert present_size(claim(requested="300Gi", capacity="301Gi")) == 301 * GIB
    plan = make_plan([claim(requested="400Gi")], Growth(to="350Gi"), classes=GOLD, quotas={})
    assert "350Gi is less than the 400Gi" in plan.refusals[0]
    assert make_plan([claim(requested="400Gi")], Growth(to="400Gi"), classes=GOLD, quotas={}).entries[0].is_asked


def test_a_quota_is_held_against_the_sum():
    """Two claims that each fit are refused when together they do not; what cannot be read refuses nothing."""
    claims = [claim("a"), claim("b")]
    tight = {"gold": (Quota("team", "requests.storage", 750 * GIB, 600 * GIB),)}
    refused = make_plan(claims, Growth(to="400Gi"), classes=GOLD, quotas=tight).refusals
    assert refused == (
        "quota team: requests.storage leaves 150Gi, and the plan needs 200Gi more; raise the quota or grow less",
    )
    assert make_plan(claims[:1], Growth(to="400Gi"), classes=GOLD, quotas=tight).refusals == ()
    assert make_plan(claims, Growth(to="400Gi"), classes={"gold": None}, quotas={}).refusals == ()


def test_bars_show_each_claim_and_take_text_as_text():
    """Bars name claim and sizes; a reason with markup in it is printed as it is."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    entry = make_plan([claim()], Growth(to="400Gi"), classes=GOLD, quotas={}).entries[0]
    with Bars(console, claims=1) as bars:
        bars.asked(entry)
        bars.moved(entry, "NodePending")
        bars.failed(entry, "the server said [bold]no[/bold]")
    shown = console.file.getvalue()
    assert f"db/data-0 {format_bytes(300 * GIB)} -> 400Gi" in shown
    assert "the server said [bold]no[/bold]" in shown
