"""The summary ring: what was computed once is there after a restart, gaps are asked for once, and old rows never show through."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.observe.summaries import refresh
from models.errors import BadInput, LifeboatError, MetricsUnavailable
from models.risk.signal import STATISTICS, Signal, Summaries
from tools.history.summary_ring import COARSE_SECONDS, FINE_SECONDS, SummaryRing
from tools.signals import load_catalogue

SIGNALS = load_catalogue()
RAIL, FAN = (next(s for s in SIGNALS if s.name == name) for name in ("psu_12v_volts", "fan_speed_rpm"))
T0 = 1_764_000_000 // COARSE_SECONDS * COARSE_SECONDS
PARTS = [("node-a", "PSU1"), ("node-b", "PSU1")]


def truth(end: float, seconds: int, place: int) -> list[float]:
    """STATISTICS of a reading of one value a minute that is unlike itself at every moment."""
    values = [math.sin(t / 977.0 + place) + t / 1e9 for t in np.arange(end - seconds + 60, end + 1, 60)]
    return [values[-1], min(values), max(values), sum(values) / len(values), len(values)]


class Source:
    """Computes summaries as Prometheus would; remembers how many stretches, and numbers, it was asked for."""

    def __init__(self, parts: Sequence[tuple[str, str]] = PARTS) -> None:
        self.parts = list(parts)
        self.asked: list[tuple[str, int, int]] = []
        self.broken: dict[str, LifeboatError] = {}
        self.numbers = 0

    def summaries(
        self, signal: Signal, *, first: int, last: int, step_seconds: int, last_only: bool = False, **_: Any
    ) -> Summaries:
        if signal.name in self.broken:
            raise self.broken[signal.name]
        times = np.arange(first, last + 1, step_seconds, dtype=np.float64)
        self.asked.append((signal.name, step_seconds, times.size))
        cells = [[truth(t, step_seconds, k) for k in range(len(self.parts))] for t in times]
        values = np.array(cells).reshape(times.size, len(self.parts), len(STATISTICS)).transpose(2, 1, 0)
        if last_only:
            values[1:] = np.nan
        self.numbers += int(np.isfinite(values).sum())
        return Summaries(signal, times, self.parts, values)

    @property
    def stretches(self) -> int:
        return sum(count for _, step, count in self.asked if step == FINE_SECONDS)


def look(ring: SummaryRing, source: Source, at: float, signals: Sequence[Signal] = (RAIL,)) -> dict[str, LifeboatError]:
    return refresh(ring, source, signals, now=datetime.fromtimestamp(T0 + at + 25, UTC), interval_seconds=15.0)


def test_a_pass_asks_for_one_stretch_and_a_restart_only_for_the_gap(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    look(ring, source, 0)
    assert source.stretches == 312, "a day and two hours at first"
    source.asked.clear()
    look(ring, source, 300)
    assert source.stretches == 1
    look(ring, source, 400)
    assert source.stretches == 1, "nothing is asked for twice"
    ring.close()
    again = SummaryRing(tmp_path)
    source.asked.clear()
    look(again, source, 3 * 3600)
    assert source.stretches == 3 * 12 - 1
    (a, b) = again.histories(RAIL, first=T0 - 86_400, last=T0 + 3 * 3600)
    assert (a.node, b.node) == ("node-a", "node-b")
    assert np.allclose(a.values, [truth(t, 300, 0)[0] for t in a.times])
    again.close()


def test_what_was_not_flushed_is_read_again_after_a_crash(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    look(ring, source, 0)
    ring.put(source.summaries(RAIL, first=T0 + 300, last=T0 + 300, step_seconds=300))
    ring.close()  # without `flush`: the state does not name the new stretch
    again = SummaryRing(tmp_path)
    source.asked.clear()
    look(again, source, 300)
    assert source.stretches == 1
    again.close()


@pytest.mark.parametrize("minutes", [0, 25, 55])
def test_a_day_and_two_weeks_of_hours_are_known_whenever_in_the_hour_it_is_first_looked(
    tmp_path: Path, minutes: int
) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    begin = 60 * minutes
    for at in range(begin, begin + 20 * 300, 300):  # each pass fills some of the older hours, too
        look(ring, source, at)
    assert not ring.older
    end = T0 + begin + 19 * 300
    for first, last in ((end // 3600 * 3600 - 86_400, end // 3600 * 3600), (T0 - 13 * 86_400, T0 - 12 * 86_400)):
        found = ring.hours(RAIL, first=first, last=last)
        wanted = [[truth(hour, 3600, k) for hour in found.times] for k in range(2)]
        assert np.allclose(found.values.transpose(1, 2, 0), wanted), "last, min, max, mean and count"
    (a, _) = ring.histories(RAIL, first=end - 86_400, last=end)
    assert a.values.tolist() == [truth(t, 300, 0)[0] for t in a.times]
    ring.close()


def test_a_first_look_asks_for_a_third_of_what_a_day_of_stretches_holds(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    look(ring, source, 30 * 60)
    older = 24 * len(STATISTICS) * len(PARTS)
    assert source.numbers - older < 312 * len(STATISTICS) * len(PARTS) / 3
    ring.close()


def test_a_row_whose_turn_comes_again_shows_nothing_old(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    look(ring, source, 0)
    source.parts = PARTS[:1]
    look(ring, source, 26 * 3600)
    (a,) = ring.histories(RAIL, first=T0 + 600, last=T0 + 26 * 3600)
    assert a.node == "node-a", "what node-b said a day ago in the same rows is gone"
    ring.close()


def test_a_node_that_appears_and_many_more_find_room(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    look(ring, source, 0)
    source.parts = [*PARTS, *((f"node-{n}", "PSU1") for n in range(700))]
    look(ring, source, 300)
    found = {h.node: h for h in ring.histories(RAIL, first=T0 - 3600, last=T0 + 300)}
    assert len(found) == 702
    assert np.isfinite(found["node-a"].values).all(), "growing loses nothing"
    assert np.isnan(found["node-699"].values[:-1]).all()
    assert found["node-699"].values[-1] == pytest.approx(truth(T0 + 300, 300, 701)[0])
    ring.close()
    again = SummaryRing(tmp_path)
    assert len(again.histories(RAIL, first=T0 - 3600, last=T0 + 300)) == 702
    again.close()


def test_parts_of_a_signal_need_not_lie_side_by_side(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    look(ring, source, 0, [RAIL, FAN])
    source.parts = [*PARTS, ("node-c", "PSU1")]
    look(ring, source, 300, [RAIL, FAN])
    source.parts = PARTS[::-1]
    look(ring, source, 600, [RAIL, FAN])
    for signal in (RAIL, FAN):
        a, b, c = ring.histories(signal, first=T0, last=T0 + 600)
        assert np.allclose(a.values, [truth(T0, 300, 0)[0], truth(T0 + 300, 300, 0)[0], truth(T0 + 600, 300, 1)[0]])
        assert b.values[-1] == pytest.approx(truth(T0 + 600, 300, 0)[0])
        assert np.isnan(c.values[[0, 2]]).all()
    ring.close()


def test_a_signal_that_fails_keeps_its_gap_and_the_others_go_on(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    look(ring, source, 0, [RAIL, FAN])
    source.broken["fan_speed_rpm"] = MetricsUnavailable("it answered only in part")
    assert set(look(ring, source, 300, [RAIL, FAN])) == {"fan_speed_rpm"}
    assert ring.histories(FAN, first=T0 + 300, last=T0 + 300) == []
    source.broken.clear()
    source.asked.clear()
    assert look(ring, source, 600, [RAIL, FAN]) == {}
    fine = {name: count for name, step, count in source.asked if step == FINE_SECONDS}
    assert fine == {"psu_12v_volts": 1, "fan_speed_rpm": 2}
    ring.close()


def test_nobody_is_asked_on_when_prometheus_does_not_answer(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    source.broken = {RAIL.name: MetricsUnavailable("unreachable")}
    assert set(look(ring, source, 0, [RAIL, FAN])) == {RAIL.name, FAN.name}
    assert source.asked == []
    ring.close()


def test_a_clock_that_ran_ahead_does_not_blind_the_ring_for_good(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    look(ring, source, 30 * 86_400)
    look(ring, source, 0)
    assert ring.newest[RAIL.name] == T0
    (a, _) = ring.histories(RAIL, first=T0 - 600, last=T0)
    assert a.values[-1] == pytest.approx(truth(T0, 300, 0)[0])
    ring.close()


def test_a_second_process_and_damaged_files_are_named_in_one_line(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    look(ring, source, 0)
    with pytest.raises(BadInput, match="in use by another lifeboat"):
        SummaryRing(tmp_path)
    ring.close()
    with (tmp_path / "fine.f8").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(BadInput, match=r"fine\.f8 is cut off — remove the directory"):
        SummaryRing(tmp_path)
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(BadInput, match="can't be read"):
        SummaryRing(tmp_path)


def test_a_line_cut_off_while_a_part_was_noted_costs_nothing(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    look(ring, source, 0)
    ring.close()
    with (tmp_path / "parts.jsonl").open("a") as table:
        table.write('["psu_12v_volts", "node-')
    again = SummaryRing(tmp_path)
    source.parts = [*PARTS, ("node-c", "PSU1")]
    look(again, source, 300)
    again.close()
    third = SummaryRing(tmp_path)
    assert third.parts(RAIL) == [*PARTS, ("node-c", "PSU1")]
    third.close()


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 40 * 3600), min_size=1, max_size=6))
def test_whatever_the_pauses_the_last_day_is_complete(
    tmp_path_factory: pytest.TempPathFactory, pauses: list[int]
) -> None:
    source, ring = Source(PARTS[:1]), SummaryRing(tmp_path_factory.mktemp("ring"))
    at = 0
    for pause in [0, *pauses]:
        at += pause
        look(ring, source, at)
    end = (T0 + at + 5) // 300 * 300
    (a,) = ring.histories(RAIL, first=end - 86_400, last=end)
    assert np.allclose(a.values, [truth(t, 300, 0)[0] for t in a.times])
    hours = ring.hours(RAIL, first=end // 3600 * 3600 - 23 * 3600, last=end // 3600 * 3600)
    assert np.allclose(hours.values[:, 0].T, [truth(t, 3600, 0) for t in hours.times])
    ring.close()


def mapped_kilobytes(directory: Path) -> int:
    """Of the ring's files, in this process's memory (proc_pid_smaps(5))."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            ours = f"{directory}/" in line
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def test_what_was_read_out_of_the_ring_does_not_stay_mapped(tmp_path: Path) -> None:
    source, ring = Source(), SummaryRing(tmp_path)
    look(ring, source, 0)
    begin = T0 - 24 * COARSE_SECONDS

    ring.histories(RAIL, first=begin, last=T0)
    ring.hours(RAIL, first=begin, last=T0)

    assert mapped_kilobytes(tmp_path) == 0
    assert ring.fine.cells[ring.fine.row(T0), 0, 0] == truth(T0, FINE_SECONDS, 0)[0], (
        "and is there when it is asked for"
    )
    assert mapped_kilobytes(tmp_path) > 0, "as would show"
    ring.close()


def test_a_disk_without_room_is_said_in_one_line_and_what_is_missing_is_read_once_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, ring = Source(), SummaryRing(tmp_path)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr("tools.history.summary_ring.os.pwrite", full)
        with pytest.raises(BadInput, match="can't be written: No space left on device") as said:
            look(ring, source, 600)
    assert "\n" not in str(said.value)
    look(ring, source, 600)
    (history, *_) = ring.histories(RAIL, first=T0, last=T0 + 600)
    assert history.values[-1] == pytest.approx(truth(T0 + 600, FINE_SECONDS, 0)[0])
    ring.close()
