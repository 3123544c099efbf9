import json
from dataclasses import replace

import pytest

from bench import simulation
from bench.curves.decoding import shard_of
from bench.curves.queueing import Give, Simulation, Station, Take, Use
from bench.curves.world import claim_document, driver_name, volume_document
from bench.simulation import Costs, Line, Setup, check_lines, plan, simulate_burst

COSTS = Costs(
    memory_mb=Line(85.0, 0.0015),
    start_cpu_s=Line(0.6, 40e-6),
    start_api_cpu_s=Line(0.02, 15e-6),
    resize_cpu_s=2.4e-3,
    driver_cpu_s=0.4e-3,
    request_cpu_s=0.3e-3,
    event_cpu_s=40e-6,
    wake_cpu_s=300e-6,
    spared_s=5e-6,
)
ENDLESS = 1_000_000


def kept_results(folder, memory_mb):
    """Write a claims curve of four points, as `bench.curves` keeps it."""
    points = [
        {"claims": n, "rss_mb": mb, "start_cpu_s": COSTS.start_cpu_s.at(n), "start_api_server_cpu_s": 0.1}
        for n, mb in zip((1_000, 5_000, 20_000, 100_000), memory_mb, strict=True)
    ]
    (folder / "curve-claims.json").write_text(json.dumps({"points": points}))


def test_one_station_serves_one_after_the_other():
    """Three jobs of 2 s each on one place end at 2, 4 and 6 s, and the station was busy for 6 s."""
    model, station, ends = Simulation(), Station(), []

    def job():
        yield Use((station,), 2.0)
        ends.append(model.now_s)

    for _ in range(3):
        model.start(job())
    model.run()
    assert ends == [2.0, 4.0, 6.0]
    assert station.busy_s == 6.0


def test_a_job_holds_all_its_stations_together():
    """Two programs with an event loop each, on one core, take turns: nobody gets two cores out of one."""
    model, core, loops, ends = Simulation(), Station(), (Station(), Station()), []

    def job(loop):
        yield Use((loop, core), 1.0)
        ends.append(model.now_s)

    for loop in loops:
        model.start(job(loop))
    model.run()
    assert ends == [1.0, 2.0]


def test_a_pool_bounds_what_is_under_way():
    """Of ten jobs with two places between them, never more than two are past the gate."""
    model, gate, most, inside = Simulation(), Station(2), 0, 0

    def job():
        nonlocal most, inside
        yield Take(gate)
        inside += 1
        most = max(most, inside)
        yield Use((), 1.0)
        inside -= 1
        yield Give(gate)

    for _ in range(10):
        model.start(job())
    model.run()
    assert most == 2
    assert model.now_s == 5.0


def test_a_long_line_needs_no_deep_stack():
    """Ten thousand jobs wait for one gate that costs no time: the simulator does not recurse through them."""
    model, gate, done = Simulation(), Station(), []

    def job():
        yield Take(gate)
        yield Give(gate)
        done.append(1)

    def opener():
        yield Take(gate)
        yield Use((), 1.0)
        yield Give(gate)

    model.start(opener())
    for _ in range(10_000):
        model.start(job())
    model.run()
    assert len(done) == 10_000


def test_the_patient_wait_for_all_others():
    """Who waits patiently comes after those who came later and do not."""
    model, gate, order = Simulation(), Station(), []

    def job(name, *, patient):
        yield Take(gate, patient=patient)
        order.append(name)
        yield Use((), 1.0)
        yield Give(gate)

    for name, patient in (("first", False), ("event", True), ("write", False), ("write", False)):
        model.start(job(name, patient=patient))
    model.run()
    assert order == ["first", "write", "write", "event"]


def test_a_line_is_found_again():
    """The fit of points on a line is that line, over any range of sizes."""
    line = Line(85.0, 0.0015)
    found = Line.through([(x, line.at(x)) for x in (1_000, 5_000, 100_000)])
    assert found.base == pytest.approx(line.base)
    assert found.slope == pytest.approx(line.slope)


def test_the_check_tells_a_bend(tmp_path):
    """Points on a line are predicted; memory that doubles at the last point is seen as an error of the model."""
    straight = [COSTS.memory_mb.at(n) for n in (1_000, 5_000, 20_000, 100_000)]
    kept_results(tmp_path, straight)
    assert all(abs(row["error_percent"]) <= 0.1 for row in check_lines(tmp_path))
    kept_results(tmp_path, [*straight[:3], 2 * straight[3]])
    bent = {row["what"]: row["error_percent"] for row in check_lines(tmp_path)}
    assert bent["rss_mb at 100,000"] < -40


def test_one_process_is_bound_by_its_event_loop():
    """With an endless API server the rate lies between all of a growth's CPU and that of its writes alone."""
    burst = simulate_burst(COSTS, Setup(1, 1_000, ENDLESS, 0.0))
    writes_only = 1.5 / COSTS.resize_cpu_s
    assert 1 / COSTS.resize_cpu_s <= burst.rate <= 1.01 * writes_only
    assert burst.loop_busy > 0.95


def test_the_api_server_bounds_any_number_of_shards():
    """Where each of a growth's requests takes 10 ms of a single place, sixteen shards are no faster than that."""
    burst = simulate_burst(COSTS, Setup(16, 500, 1, 10e-3))
    assert burst.rate <= 1 / (simulation.WRITES * 10e-3)
    assert burst.api_busy > 0.9


def test_shards_help_until_the_events_of_the_others_fill_their_loops():
    """Two shards are nearly twice as fast; dear events take most of what sixteen could give."""
    rates = {n: simulate_burst(COSTS, Setup(n, 400, ENDLESS, 0.0)).rate for n in (1, 2)}
    assert 1.6 < rates[2] / rates[1] <= 2.0
    free, dear = replace(COSTS, driver_cpu_s=0.0), replace(COSTS, driver_cpu_s=0.0, event_cpu_s=1e-3)
    setup = Setup(16, 320, ENDLESS, 0.0)
    assert simulate_burst(dear, setup).rate < 0.3 * simulate_burst(free, setup).rate


def test_a_plan_divides_memory_but_not_reading():
    """Eight shards hold an eighth each, yet every one of them still has to read all objects at its start."""
    one, eight = (plan(COSTS, shards=n, claims=1_000_000, api_cores=8, burst=200) for n in (1, 8))
    assert eight["memory_mb"] == round(COSTS.memory_mb.at(125_000))
    assert one["start_s"] / 2 < eight["start_s"] < one["start_s"]
    assert eight["api_start_cpu_s"] == pytest.approx(8 * one["api_start_cpu_s"], rel=0.01)


def test_a_claim_and_its_volume_fall_to_one_shard():
    """The shard is found from the claim's uid, which stands in both objects, and claims are spread evenly."""
    counts = [0] * 8
    for number in range(2_000):
        claim = claim_document(number)
        volume = volume_document(claim, driver_name(0))
        shard = shard_of(claim["metadata"]["uid"], 8)
        assert shard_of(volume["spec"]["claimRef"]["uid"], 8) == shard
        counts[shard] += 1
    assert max(counts) < 1.3 * min(counts)


def test_missing_figures_are_named(tmp_path, monkeypatch, capsys):
    """Without measured curves there is no model: one line names the file and the next step, exit code 1."""
    monkeypatch.setattr("sys.argv", ["bench.simulation", "--results", str(tmp_path)])
    assert simulation.main() == 1
    said = capsys.readouterr().err
    assert "curve-claims.json" in said
    assert "measure" in said


def test_a_quicker_machine_makes_everything_cheaper_but_memory():
    """CPU of every kind is divided; what is held is the same."""
    here, there = (plan(c, shards=2, claims=100_000, api_cores=64, burst=200) for c in (COSTS, COSTS.on_quicker(2.0)))
    assert there["memory_mb"] == here["memory_mb"]
    assert there["start_s"] == pytest.approx(here["start_s"] / 2, rel=0.05)
    assert there["lasting_per_s"] == pytest.approx(2 * here["lasting_per_s"], rel=0.01)
    assert there["foreign_event_cpu_percent"] == pytest.approx(here["foreign_event_cpu_percent"], rel=0.02)


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_a_speed_that_is_no_factor_is_refused(speed, monkeypatch, capsys):
    """One line says what to write instead."""
    monkeypatch.setattr("sys.argv", ["bench.simulation", f"--speed={speed}"])
    with pytest.raises(SystemExit):
        simulation.main()
    assert "write it as 2.6" in capsys.readouterr().err
