"""A fleet's own past: few rows, each failure once, the evacuated unknown, and the same features in training and in use."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from scenes.fleet_history import QUICK
from scenes.watched_fleet import CATALOGUE, DAY, HOUR, SIGNAL, START, Outage, hours

from models.forecast.data import labels
from models.forecast.data.dataset import DAY as MICRO_DAY
from models.forecast.data.dataset import build, known_at
from models.forecast.history.lives import QUARANTINE, History, failures, lives, tables
from models.forecast.history.rows import Kept, node_columns, node_values, thin
from models.forecast.learned.predict import score
from models.forecast.learned.train import train
from models.risk.incidents import IncidentKind, Window
from models.risk.signal import Component, HardwareEvent, HardwareEventKind, Severity, Summaries
from tools.forecast.datasets import read_dataset, write_dataset
from tools.history.store import HistoryStore

NODES = [f"node-{k:02}" for k in range(6)]
COLUMNS = node_columns(CATALOGUE)


def kept(store: HistoryStore, days: int, *, nodes: list[str] = NODES, first: int = START, **happened: object) -> None:
    for begin in range(first, first + days * DAY, DAY):
        times = range(begin + HOUR, begin + DAY + 1, HOUR)
        store.append(hours(nodes, times, **happened), times, nodes, [])  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> HistoryStore:
    return HistoryStore(tmp_path / "history", CATALOGUE)


def test_a_quiet_node_costs_a_row_a_day_and_a_failing_disk_a_row_a_change(store: HistoryStore) -> None:
    kept(store, 10, errors={"node-01": 0.25})
    rows = dict(store.read().rows.group_by("unit").len().iter_rows())
    assert 10 <= rows["node-00"] <= 30, "its processor warms and cools by 24 °C each day"
    assert rows["node-01"] >= rows["node-00"] + 40, "a sector each four hours"
    disks = dict(store.read().parts["storage"].group_by("unit").len().iter_rows())
    assert disks["node-00/sdb"] == 1, "at changes alone, as data sets about drives have it"
    assert max(disks.values()) >= 59


def test_columns_do_not_depend_on_what_parts_are_called() -> None:
    names = {column.name for column in COLUMNS}
    assert {"psu_12v_volts.margin", "psu_12v_volts.swing", "fan_speed_rpm", "parts.storage"} <= names
    assert not names & {"scrape_age_seconds", "textfile_age_seconds"}
    times = [START + HOUR]
    values = np.array([[[v]] * 2 for v in (12.1, 12.0, 12.2, 12.1, 240)]).reshape(5, 2, 1)
    values[3, 1] = 11.5  # the second supply's mean
    a, b = (
        node_values(
            COLUMNS, {"psu_12v_volts": Summaries(SIGNAL["psu_12v_volts"], np.array([1.0]), parts, values)}, ["n"], times
        )
        for parts in ([("n", "PSU1"), ("n", "PSU2")], [("n", "left"), ("n", "right")])
    )
    assert np.array_equal(a, b, equal_nan=True)
    said = dict(zip((column.name for column in COLUMNS), a[0, 0], strict=True))
    assert said["psu_12v_volts.margin"] == pytest.approx(0.10), (
        "11.50 V is 0.10 V above the limit: the worst part counts"
    )
    assert said["psu_12v_volts.swing"] == pytest.approx(0.2)
    assert said["parts.power"] == 2
    assert said["parts.storage"] == 0, "a node that reports something has no disk that does"


def test_whether_a_row_is_kept_depends_on_the_past_alone() -> None:
    times = list(range(START + HOUR, START + 3 * DAY, HOUR))
    values = node_values(COLUMNS, hours(NODES, times, errors={"node-01": 0.3}), NODES, times)
    whole = thin(COLUMNS, NODES, times, values, Kept.nothing(len(COLUMNS)))
    so_far = Kept.nothing(len(COLUMNS))
    parts = [thin(COLUMNS, NODES, times[k : k + 7], values[k : k + 7], so_far) for k in range(0, len(times), 7)]
    assert whole.units == tuple(unit for part in parts for unit in part.units)
    assert np.array_equal(whole.values, np.concatenate([part.values for part in parts]), equal_nan=True)


def test_a_restart_goes_on_where_it_was_and_a_crash_in_between_doubles_nothing(tmp_path: Path) -> None:
    straight, broken = HistoryStore(tmp_path / "a", CATALOGUE), HistoryStore(tmp_path / "b", CATALOGUE)
    kept(straight, 4)
    kept(broken, 2)
    state = (tmp_path / "b/state.npz").read_bytes()
    broken = HistoryStore(tmp_path / "b", CATALOGUE)
    kept(broken, 1, first=START + 2 * DAY)
    (tmp_path / "b/state.npz").write_bytes(state)  # the rows were written, the state was not
    broken = HistoryStore(tmp_path / "b", CATALOGUE)
    assert broken.until == START + 2 * DAY
    kept(broken, 2, first=START + 2 * DAY)
    a, b = straight.read(), broken.read()
    assert a.rows.sort("unit", "time").equals(b.rows.sort("unit", "time"))
    assert a.spells == b.spells


OUTAGE = Outage("node-02", START + 3 * DAY + 1000, START + 3 * DAY + 1900)


def test_a_short_reboot_is_a_failure_unless_it_was_planned(store: HistoryStore) -> None:
    kept(store, 5, outages=[OUTAGE])
    past = store.read()
    (found,) = failures(past)
    assert (found.node, found.kind) == ("node-02", IncidentKind.REBOOT)
    assert OUTAGE.start - HOUR <= found.at <= OUTAGE.start, "the last moment it is known to have worked"
    planned = Window("node-02", OUTAGE.start - 600, OUTAGE.until)
    assert failures(past, maintenance=[planned]) == []
    data = build(tables(past, lives(past), [found]))
    assert data.failures is not None
    assert [data.units[k] for k in data.failures.unit] == ["node-02"]


def test_a_node_that_stays_silent_has_failed_and_its_life_ends(store: HistoryStore) -> None:
    kept(store, 6, outages=[Outage("node-03", START + 2 * DAY, START + 60 * DAY)])
    past = store.read()
    (found,) = failures(past)
    assert (found.node, found.kind) == ("node-03", IncidentKind.DOWN)
    life = next(life for life in lives(past) if life.node == "node-03")
    assert life.until is not None
    assert abs(life.until - found.at) <= DAY


def test_what_follows_an_evacuation_is_unknown_until_the_node_boots(store: HistoryStore) -> None:
    left = OUTAGE.start - 4 * HOUR
    kept(store, 8, outages=[OUTAGE])
    past = store.read()
    known = lives(past, [("node-02", left)])
    first, second = (life for life in known if life.node == "node-02")
    assert (first.unit, first.until, second.unit, second.until) == ("node-02", left, "node-02#2", None)
    assert OUTAGE.until < second.start <= OUTAGE.until + 2 * HOUR + DAY, "with the first row after its boot"
    data = build(tables(past, known, failures(past)))
    assert data.failures is not None
    assert data.failures.start.size == 0, "a repair after an evacuation is no failure"
    at = int((left - HOUR) * 1e6)
    pairs = labels.at_risk(data, np.array([at], np.int64))
    outcome = labels.outcomes(data, pairs, MICRO_DAY, known_until=int(past.until * 1e6))
    assert {data.units[u]: int(o) for u, o in zip(pairs.unit, outcome, strict=True)} == {
        node: (-1 if node == "node-02" else 0) for node in NODES
    }


def test_planned_work_on_one_node_ends_its_life_and_work_on_all_does_not() -> None:
    past = History(START, START + 9 * DAY, tables_rows(["a", "b"], [START + k * DAY for k in range(10)]))
    planned = [Window("a", START + 3.5 * DAY, START + 4.5 * DAY), Window("*", START + 6.0 * DAY, START + 6.1 * DAY)]
    known = [(x.unit, x.start, x.until) for x in lives(past, maintenance=planned)]
    assert known == [
        ("a", START, START + 3.5 * DAY),
        ("a#2", START + 5.0 * DAY, None),
        ("b", START, None),
    ]


def test_an_evacuated_node_that_never_boots_begins_again_after_a_while() -> None:
    rows = tables_rows(["a"], [START + k * DAY for k in range(60)])
    known = lives(History(START, START + 60 * DAY, rows), [("a", START + 5.0 * DAY), ("a", START + 6.0 * DAY)])
    assert [(x.unit, x.until) for x in known] == [("a", START + 5.0 * DAY), ("a#2", None)]
    assert known[1].start >= START + 5 * DAY + QUARANTINE


def tables_rows(nodes: list[str], times: list[int]):  # type: ignore[no-untyped-def]
    import polars as pl

    rows = [{"unit": node, "time": datetime.fromtimestamp(t, UTC), "x": 1.0} for node in nodes for t in times]
    return pl.DataFrame(rows).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))


def test_an_event_that_two_logs_tell_at_different_times_counts_once(store: HistoryStore) -> None:
    def event(second: int, kind: HardwareEventKind = HardwareEventKind.VOLTAGE) -> HardwareEvent:
        return HardwareEvent(node="node-00", time=datetime.fromtimestamp(START + second, UTC), kind=kind,
                             component=Component.POWER, severity=Severity.WARNING, part="PSU1")  # fmt: skip

    times = range(START + HOUR, START + 3 * HOUR + 1, HOUR)
    for told in (
        [event(100), event(104)],  # a burst is two
        [event(100), event(104)],
        [event(97), event(104)],  # the BMC's record of the first came later
    ):
        store.append(hours(NODES, times), times, NODES, told)
    assert [e.time.timestamp() - START for e in store.read().events] == [100, 104]


FLEET = [f"n{k:02}" for k in range(24)]


@pytest.mark.slow
def test_scoring_from_the_folder_is_scoring_from_what_was_known_then(tmp_path: Path) -> None:
    """The invariant this file exists for: a row, a life or an event that a later look changes would show here."""
    ill = {node: 0.05 + 0.01 * k for k, node in enumerate(FLEET[:8])}
    outages = [Outage(node, START + (8 + k) * DAY + 5000, START + (8 + k) * DAY + 9000) for k, node in enumerate(ill)]
    then, later = HistoryStore(tmp_path / "then", CATALOGUE), HistoryStore(tmp_path / "later", CATALOGUE)
    middle = START + 15 * DAY
    kept(then, 15, nodes=FLEET, errors=ill, outages=outages)
    kept(later, 18, nodes=FLEET, errors=ill, outages=outages)
    left = [(FLEET[20], START + 12.0 * DAY), (FLEET[21], START + 17.0 * DAY)]
    past = later.read()
    write_dataset(tmp_path / "data", tables(past, lives(past, left), failures(past)))
    folder = read_dataset(tmp_path / "data", now=datetime.fromtimestamp(past.until, UTC))
    model = train(folder, [MICRO_DAY, 2 * MICRO_DAY], settings=replace(QUICK, trees=4, fewest_healthy=300))
    now = then.read()
    ring = build(tables(now, lives(now, [one for one in left if one[1] <= middle])))
    at = middle * 1_000_000
    first = {node: k for k, node in enumerate(folder.units)}
    units = [unit for unit in ring.units if unit in first]
    assert len(units) == len(FLEET)
    old = score(model, ring, np.array([ring.units.index(u) for u in units]), np.full(len(units), at))
    new = score(model, known_at(folder, at), np.array([first[u] for u in units]), np.full(len(units), at))
    assert np.array_equal(old, new)
    sick, well = (
        np.mean([p[-1] for p, u in zip(old, units, strict=True) if (u in ill) == is_ill]) for is_ill in (True, False)
    )
    assert sick > 2 * well, "and it learned that growing defects come before reboots"


def test_the_command_writes_a_dataset_that_train_reads(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from agent.cli.history import app

    kept(HistoryStore(tmp_path / "state/history", CATALOGUE), 5, outages=[OUTAGE])
    (tmp_path / "lifeboat.yaml").write_text(f"state_dir: {tmp_path}/state\n")
    with (tmp_path / "known.csv").open("w", newline="") as file:
        csv.writer(file).writerows([
            ["node", "start", "end", "kind"],
            ["node-04", datetime.fromtimestamp(START + 2 * DAY, UTC).isoformat(), "", "failure"],
            ["node-02", "2025-12-04T00:00:00Z", "2025-12-04T06:00:00Z", "maintenance"],
        ])  # fmt: skip
    words = [
        "-c",
        str(tmp_path / "lifeboat.yaml"),
        "-o",
        str(tmp_path / "data"),
        "--incidents",
        str(tmp_path / "known.csv"),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "6 nodes in 7 lives" in " ".join(done.output.split())
    data = read_dataset(tmp_path / "data")
    assert data.failures is not None
    assert [data.units[k] for k in data.failures.unit] == ["node-04"], "reported, and the reboot was planned"
    late = CliRunner().invoke(app, [*words, "--since", "2030-01-01"])
    assert "holds nothing of that time" in str(late.exception)
