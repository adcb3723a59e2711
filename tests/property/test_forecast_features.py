"""Features against their definition, on whatever telemetry hypothesis comes up with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.forecast.data.as_of import Index
from models.forecast.data.dataset import DAY, FOREVER, Dataset, Events, Telemetry, known_at
from models.forecast.learned.features.table import Builder, FeatureSpec

HOUR = DAY // 24
PLAN = FeatureSpec(windows=(HOUR, DAY), signals=("a",), clocks=(0.0,), spread=True, kinds=("x",))


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    units = draw(st.integers(1, 3))
    moments = st.lists(st.integers(0, 100), min_size=0, max_size=12, unique=True).map(sorted)
    unit: list[int] = []
    time: list[int] = []
    for place in range(units):
        mine = draw(moments)
        unit += [place] * len(mine)
        time += [m * HOUR for m in mine]
    values = draw(st.lists(st.one_of(st.just(np.nan), st.floats(-1e6, 1e6)), min_size=len(unit), max_size=len(unit)))
    table = Telemetry(
        np.array(unit, np.int64), np.array(time, np.int64), ("a",), np.array(values, float).reshape(-1, 1)
    )
    events = Events(table.unit, table.time, np.zeros(len(unit), np.int64), ("x",))
    return Dataset(
        tuple(f"u{k}" for k in range(units)),
        np.zeros(units, np.int64),
        np.full(units, FOREVER, np.int64),
        telemetry=table,
        events=events,
    )


@given(datasets(), st.lists(st.integers(-5, 130), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_the_future_changes_nothing(data: Dataset, hours: list[int]) -> None:
    for hour in hours:
        pairs = np.arange(len(data.units)), np.full(len(data.units), hour * HOUR, np.int64)
        full = Builder(data, PLAN).build(*pairs)
        cut = Builder(known_at(data, hour * HOUR), PLAN).build(*pairs)
        assert np.array_equal(full, cut, equal_nan=True)


@given(datasets(), st.integers(-5, 130))
@settings(max_examples=60, deadline=None)
def test_last_value_change_and_counts_are_what_their_names_say(data: Dataset, hour: int) -> None:
    now = hour * HOUR
    table = data.telemetry
    assert table is not None
    builder = Builder(data, PLAN)
    features = builder.build(np.arange(len(data.units)), np.full(len(data.units), now, np.int64))
    for unit in range(len(data.units)):
        mine = (table.unit == unit) & (table.time <= now)
        got = dict(zip(builder.names, features[unit], strict=True))
        reported = table.values[mine, 0][~np.isnan(table.values[mine, 0])]
        if not reported.size:
            assert np.isnan(got["a.last"])
            continue
        assert got["a.last"] == np.float32(reported[-1])
        assert got["a.peak_gap"] == np.float32(reported.max() - reported[-1])
        assert got["a.rises_total"] == (np.diff(reported) > 0).sum()
        values, times = table.values[mine, 0], table.time[mine]
        known = ~np.isnan(values)
        moved = np.diff(values[known]) != 0
        assert got["signals.changes_1d"] == (moved & (times[known][1:] > now - DAY)).sum()
        assert got["x.count_1d"] == (mine & (table.time > now - DAY)).sum()


@given(datasets(), st.integers(0, 130), st.data())
@settings(max_examples=40, deadline=None)
def test_a_row_that_repeats_what_is_held_tells_nothing(data: Dataset, hour: int, drawn: st.DataObject) -> None:
    """Or else an exporter that begins to report one more attribute would raise the risk of the whole fleet."""
    table = data.telemetry
    assert table is not None
    again = drawn.draw(st.lists(st.booleans(), min_size=table.time.size, max_size=table.time.size))
    rows = np.repeat(np.arange(table.time.size), 1 + np.array(again, np.int64))
    second = np.r_[False, rows[1:] == rows[:-1]]
    more = Telemetry(table.unit[rows], table.time[rows] + second, table.signals, table.values[rows])
    spec = replace(PLAN, spread=False)
    pairs = np.arange(len(data.units)), np.full(len(data.units), hour * HOUR + 1, np.int64)
    once = Builder(data, spec).build(*pairs)
    twice = Builder(replace(data, telemetry=more), spec).build(*pairs)
    assert np.array_equal(once, twice, equal_nan=True)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=20), st.integers(0, 3), st.integers(-2, 25))
def test_index_finds_the_last_row_at_or_before(rows: list[tuple[int, int]], unit: int, time: int) -> None:
    rows = sorted(rows)
    index = Index(np.array([u for u, _ in rows], np.int64), np.array([t for _, t in rows], np.int64), 4)
    found = int(index.at(np.array([unit]), np.array([time]))[0])
    mine = [k for k, (u, t) in enumerate(rows) if u == unit and t <= time]
    assert found == (mine[-1] if mine else int(index.start[unit]) - 1)
