from resizer.pipeline.stages.breaker import OPEN_AFTER, Breaker


def ask(breaker: Breaker, now_s: float, volume: str = "v") -> float:
    return breaker.admit(now_s, volume=volume)


def failing(breaker: Breaker, times: int, *, now_s: float = 0.0, volumes: int = 5) -> None:
    for number in range(times):
        assert ask(breaker, now_s) == 0
        breaker.fail(now_s, volume=f"v{number % volumes}")


def test_it_opens_after_failures_in_a_row_and_turns_claims_away():
    """A driver that is down costs a few calls, not one for every claim; who is turned away learns when to come."""
    breaker = Breaker(first_s=1.0)
    failing(breaker, OPEN_AFTER - 1)
    assert breaker.state == "closed"
    failing(breaker, 1)
    assert (breaker.state, breaker.opened) == ("open", 1)
    waits = [ask(breaker, 0.5) for _ in range(3)]
    assert waits == sorted(set(waits)), "they do not all come back at once"
    assert 0.5 < waits[0] < 0.6


def test_any_answer_in_between_begins_the_count_anew():
    """A driver that answers anything else in between is there, whatever single volumes say."""
    breaker = Breaker()
    for _ in range(20):
        failing(breaker, OPEN_AFTER - 1)
        breaker.succeed()
    assert (breaker.state, breaker.opened) == ("closed", 0)


def test_a_single_volume_does_not_open_it():
    """One volume that stays unavailable is that volume's trouble: the others are not held up."""
    breaker = Breaker()
    failing(breaker, 100, volumes=2)
    assert breaker.state == "closed"


def test_one_call_probes_and_a_failed_probe_waits_longer():
    """While the driver is down one call at a time finds out, ever more rarely, up to the longest delay."""
    breaker = Breaker(first_s=1.0, longest_s=4.0)
    failing(breaker, OPEN_AFTER)
    now_s, delays = 0.0, []
    for _ in range(5):
        began_s = now_s
        now_s += breaker.remaining_s(now_s)
        assert ask(breaker, now_s) == 0
        assert breaker.state == "half-open"
        assert ask(breaker, now_s) > 0, "no second probe beside the first"
        breaker.fail(now_s, volume="v")
        delays.append(now_s - began_s)
    assert delays == [1, 2, 4, 4, 4]
    assert breaker.opened == 1


def test_a_probe_that_succeeds_closes_it():
    """The first answer of a driver that is back ends it all, the longer delay too."""
    breaker = Breaker(first_s=1.0)
    breaker.trip(0.0)
    assert ask(breaker, 1.0) == 0
    breaker.succeed()
    assert ask(breaker, 1.0) == 0
    assert breaker.state == "closed"
    breaker.trip(2.0)
    assert breaker.remaining_s(2.0) == 1.0


def test_a_probe_that_is_cut_off_gives_its_place_to_the_next():
    """A probe that was never sent, or was cancelled, must not keep the circuit open for ever."""
    breaker = Breaker(first_s=1.0)
    breaker.trip(0.0)
    assert ask(breaker, 1.0) == 0
    breaker.abandon()
    assert ask(breaker, 1.0) == 0


def test_a_probe_that_says_nothing_does_not_keep_the_others_away():
    """A slow volume's call may take minutes: meanwhile the next probe goes, one for each delay, and ends it all."""
    breaker = Breaker(first_s=1.0)
    breaker.trip(0.0)
    assert ask(breaker, 1.0, "slow") == 0
    assert 0 < ask(breaker, 1.5, "fast") < 1
    assert ask(breaker, 2.0, "fast") == 0
    assert ask(breaker, 2.0, "next") > 0
    breaker.succeed()
    assert ask(breaker, 2.0, "next") == 0


def test_late_failures_do_not_prolong_it():
    """Calls that were under way when it opened end in failures, too: those are no news."""
    breaker = Breaker(first_s=1.0)
    breaker.trip(0.0)
    breaker.fail(0.9, volume="late")
    breaker.trip(0.9)
    assert breaker.remaining_s(0.9) < 0.2


def test_a_volume_that_works_is_not_starved_by_those_that_do_not():
    """Fifty unavailable volumes come first at every probe; the one that has not failed gets the next one."""
    breaker = Breaker(first_s=1.0)
    bad = [f"bad-{number}" for number in range(50)]
    failing(breaker, OPEN_AFTER, volumes=OPEN_AFTER)
    for name in bad[:20]:
        breaker.fail(0.0, volume=name)
    assert ask(breaker, 0.5, "good") > 0
    now_s = breaker.remaining_s(0.0)
    assert all(ask(breaker, now_s, name) > 0 for name in bad[:20]), "they give way"
    assert ask(breaker, now_s, "good") == 0
    breaker.succeed()
    assert breaker.state == "closed"


def test_who_gives_way_does_so_for_a_while_only():
    """The volume that was to probe may be gone with its claim: after one more delay anybody probes."""
    breaker = Breaker(first_s=1.0)
    failing(breaker, OPEN_AFTER)
    assert ask(breaker, 0.5, "soon gone") > 0
    assert ask(breaker, 1.0, "v0") > 0
    assert ask(breaker, 2.0, "v0") == 0
