"""The simulated hardware: healthy stays healthy, and each fault goes from a silent flutter to errors to death."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from lab.hardware import bmc, faults, kernel_log, noise, physics, sensors, series
from lab.hardware.physics import Columns, Machine, readings, simulate
from lab.hardware.trajectory import KINDS, Fault, FaultKind
from lab.nodes.node import Lab
from models.errors import BadInput, LabError

T0 = 1_790_000_000.0
DAY = 86_400.0

SIGNATURE: dict[FaultKind, tuple[str, int]] = {
    "psu": ("psu1_12v", -1),
    "power": ("psu1_vin", -1),
    "fan": ("fan2", -1),
    "dimm": ("ce_0_1", 1),
    "disk": ("sda_reallocated", 1),
    "nic": ("eno1_rx_errs", 1),
}
"""The column that shows each fault first, and which way it goes."""

COUNTERS = [
    name
    for name in readings(Machine("n", 0, T0), np.array([T0]))
    if name.split("_")[0] in ("ce", "ue", "throttles") or name.endswith(("_errs", "_drop", "_carrier", "_power_on"))
]

kinds = st.sampled_from(KINDS)
seeds = st.integers(0, 2**32)
tempos = st.sampled_from([45.0, 360.0, 3600.0, DAY, 14 * DAY])
onsets = st.floats(T0, T0 + 3 * DAY)


def crossed(columns: Columns) -> list[str]:
    """The sensors beyond a threshold at any time, as their BMC would see it, and the status bits that are not healthy."""
    found: list[str] = []
    for sensor in sensors.ANALOG:
        values = physics.as_sensed(sensor.signal, columns[sensor.signal])
        for name, limit in sensor.thresholds.items():
            beyond = values <= limit if name.startswith("l") else values >= limit
            if beyond.any():
                found.append(f"{sensor.name} {name}: {values.min():g}..{values.max():g}")
    found += [s.name for s in sensors.DISCRETE if (columns[s.signal] != s.initial).any()]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_healthy_hardware_crosses_no_limit_in_30_days(seed: int) -> None:
    machine = Machine("node-a", seed, T0)
    columns = readings(machine, np.arange(T0, T0 + 30 * DAY, 30.0))
    assert crossed(columns) == []
    assert all(columns[f"{disk}_{what}"].max() == 0 for disk in physics.SATA_DISKS for what in ("pending", "uncorrect"))
    # ripple and noise: ATX allows 120 mV peak to peak
    minute = readings(machine, np.arange(T0, T0 + 60.0, 0.25))["psu1_12v"]
    assert np.ptp(minute) < 0.120


def test_a_third_of_healthy_machines_see_a_correctable_memory_error_in_a_year() -> None:
    year = np.array([T0, T0 + 365.25 * DAY])
    hit, machines = 0, 300
    for seed in range(machines):
        columns = readings(Machine("n", seed, T0), year)
        hit += int(sum(np.diff(columns[f"ce_{c}_{r}"])[0] for c, r in physics.CSROWS) > 0)
        assert all(columns[f"ue_{c}_{r}"].max() == 0 for c, r in physics.CSROWS)
    assert 100 - 29 < hit < 100 + 29  # three and a half standard deviations


@settings(max_examples=30, deadline=None)
@given(kind=kinds, seed=seeds, tempo=tempos, onset=onsets)
def test_a_flutter_is_silent(kind: FaultKind, seed: int, tempo: float, onset: float) -> None:
    machine = Machine("n", seed, T0)
    fault = Fault(node="n", kind=kind, onset=onset, seconds_to_errors=tempo, seconds_to_death=2 * tempo)
    flutter = np.linspace(onset, fault.errors_at, 2000, endpoint=False)
    assert crossed(readings(machine, flutter, [fault])) == []
    window = (fault.errors_at - min(tempo, 600.0), np.floor(fault.errors_at))
    assert kernel_log.lines(machine, [fault], *window) == kernel_log.lines(machine, [], *window)


@settings(max_examples=30, deadline=None)
@given(kind=kinds, seed=seeds, tempo=tempos, onset=onsets)
def test_errors_are_loud_from_their_beginning(kind: FaultKind, seed: int, tempo: float, onset: float) -> None:
    machine = Machine("n", seed, T0)
    fault = Fault(node="n", kind=kind, onset=onset, seconds_to_errors=tempo, seconds_to_death=2 * tempo)
    start = np.linspace(fault.errors_at, fault.errors_at + 0.2 * tempo, 2000)
    window = (fault.errors_at, fault.errors_at + min(0.2 * tempo, 900.0))
    logged = set(kernel_log.lines(machine, [fault], *window)) - set(kernel_log.lines(machine, [], *window))
    assert crossed(readings(machine, start, [fault])) or logged


@settings(max_examples=30, deadline=None)
@given(kind=kinds, seed=seeds, tempo=st.sampled_from([360.0, 3600.0]), onset=onsets)
@example(kind="power", seed=0, tempo=360.0, onset=1_790_250_482.0)  # had fewer drop-outs later on
@example(kind="power", seed=75_804_602, tempo=360.0, onset=1_790_161_412.4937088)  # its flutter outweighed its sag
@example(kind="power", seed=890_054_439, tempo=3600.0, onset=1_790_064_499.72461)  # so did the mains' own wander
def test_a_fault_drifts_one_way_through_flutter_and_errors(
    kind: FaultKind, seed: int, tempo: float, onset: float
) -> None:
    column, direction = SIGNATURE[kind]
    fault = Fault(node="n", kind=kind, onset=onset, seconds_to_errors=tempo, seconds_to_death=2 * tempo)
    times = np.linspace(onset - tempo, onset + 2 * tempo, 6000, endpoint=False)
    values = readings(Machine("n", seed, T0), times, [fault])[column] * direction
    parts = [part.mean() for part in np.array_split(values, 12)]  # 4 healthy, 4 flutter, 4 errors
    healthy_spread = np.ptp(values[times < onset])
    assert all(later >= earlier for earlier, later in pairwise(parts[3:]))
    assert parts[-1] > parts[7] > parts[3]
    assert parts[7] - np.mean(parts[:4]) > healthy_spread, "the flutter ends well out of what is normal"


@settings(max_examples=40, deadline=None)
@given(seed=seeds, onset=onsets)
def test_a_failing_psu_shows_within_four_scrapes(seed: int, onset: float) -> None:
    machine = Machine("n", seed, T0)
    fault = Fault(
        node="n",
        kind="psu",
        onset=onset,
        seconds_to_errors=faults.SECONDS_TO_ERRORS,
        seconds_to_death=faults.SECONDS_TO_DEATH,
    )
    before = physics.as_sensed("psu1_12v", readings(machine, np.arange(onset - DAY, onset, 60.0))["psu1_12v"])
    scrapes = physics.as_sensed(
        "psu1_12v", readings(machine, onset + np.array([1.0, 6.0, 11.0, 16.0]), [fault])["psu1_12v"]
    )
    assert scrapes.min() < before.min()


@settings(max_examples=30, deadline=None)
@given(kind=kinds, seed=seeds, tempo=tempos, onset=onsets, cleared=st.none() | st.floats(0.0, 3.0), dies=st.booleans())
def test_counters_never_fall(
    kind: FaultKind, seed: int, tempo: float, onset: float, cleared: float | None, dies: bool
) -> None:
    fault = Fault(
        node="n",
        kind=kind,
        onset=onset,
        seconds_to_errors=tempo,
        seconds_to_death=2 * tempo if dies else None,
        cleared_at=None if cleared is None else onset + cleared * tempo,
    )
    times = np.sort(np.concatenate([np.linspace(onset - tempo, onset + 3 * tempo, 3000), [fault.errors_at]]))
    columns = readings(Machine("n", seed, T0), times, [fault])
    assert [name for name in COUNTERS if (np.diff(columns[name]) < 0).any()] == []


@settings(max_examples=40, deadline=None)
@given(kind=kinds, seed=seeds, onset=onsets, picks=st.lists(st.integers(0, 999), min_size=1, max_size=5))
def test_any_moment_reads_the_same_alone_and_within_a_series(
    kind: FaultKind, seed: int, onset: float, picks: list[int]
) -> None:
    fault = Fault(node="n", kind=kind, onset=onset, seconds_to_errors=360.0, seconds_to_death=600.0)
    times = onset - 300.0 + np.arange(1000.0)
    machine = Machine("n", seed, T0)
    series_, alone = readings(machine, times, [fault]), readings(machine, times[picks], [fault])
    assert {name: alone[name].tolist() for name in alone} == {name: series_[name][picks].tolist() for name in alone}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mended_machine_reads_as_if_nothing_had_been(kind: FaultKind) -> None:
    machine = Machine("n", 5, T0)
    fault = Fault(node="n", kind=kind, onset=T0, seconds_to_errors=300.0, seconds_to_death=600.0, cleared_at=T0 + 450.0)
    after = T0 + 450.0 + np.arange(1000.0)
    healthy, mended = readings(machine, after), readings(machine, after, [fault])
    counted = {name for name in healthy if not np.array_equal(healthy[name], mended[name])}
    assert counted <= set(COUNTERS), "only what was counted stays"
    assert mended["alive"].all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_dead_node_falls_silent(kind: FaultKind) -> None:
    fault = Fault(node="n", kind=kind, onset=T0 + 100.0, seconds_to_errors=60.0, seconds_to_death=120.0)
    replay = simulate(["n", "other"], T0, T0 + 400.0, 5.0, [fault])
    dead = replay.times >= T0 + 220.0
    assert np.isnan(replay.columns["psu1_12v"][0, dead]).all()
    assert not np.isnan(replay.columns["psu1_12v"][0, ~dead]).any()
    assert not np.isnan(replay.columns["psu1_12v"][1]).any(), "its neighbour lives"
    lines = kernel_log.lines(Machine("n", 0, T0), [fault], T0, T0 + 400.0)
    assert all(line.time <= T0 + 220.0 for line in lines)


def test_a_replay_keeps_only_the_columns_asked_for() -> None:
    replay = simulate(["a", "b", "c"], T0, T0 + DAY, 300.0, columns=["psu1_12v", "ce_0_1"])
    assert set(replay.columns) == {"psu1_12v", "ce_0_1"}
    assert replay.columns["psu1_12v"].shape == (3, 288)


# ---- noise ----


@given(key=st.integers(0, 2**64 - 1), start=st.integers(-(2**40), 2**40))
def test_draws_stay_within_their_bounds(key: int, start: int) -> None:
    index = np.arange(start, start + 500)
    draws = noise.uniform(key, index)
    assert ((draws >= 0.0) & (draws < 1.0)).all()
    assert 0.35 < draws.mean() < 0.65
    assert (np.abs(noise.bell(key, index)) <= 3.0).all()


@given(key=st.integers(0, 2**64 - 1), most=st.floats(0.0, 5000.0))
def test_arrivals_grow_with_what_is_expected(key: int, most: float) -> None:
    counts = noise.arrivals(key, np.linspace(0.0, most, 200))
    assert counts[0] == 0.0
    assert (np.diff(counts) >= 0).all()
    assert abs(counts[-1] - most) <= 6.0 * np.sqrt(most) + 6.0


# ---- the BMC's sensors ----


@pytest.mark.parametrize("sensor", sensors.ANALOG, ids=lambda sensor: sensor.signal)
def test_a_sensor_record_says_what_its_raw_byte_means(sensor: sensors.Analog) -> None:
    """Decoded as a BMC's reader does (IPMI v2.0, section 36.3)."""
    record = bmc.full_record(sensor)
    body = record[5:]
    assert record[4] == len(body)

    def signed(value: int, bits: int) -> int:
        return value - (1 << bits) if value >> (bits - 1) else value

    m = signed(body[19] | (body[20] & 0xC0) << 2, 10)
    b = signed(body[21] | (body[22] & 0xC0) << 2, 10)
    r_exp, b_exp = signed(body[24] >> 4, 4), signed(body[24] & 0x0F, 4)
    for raw in (0, 1, 100, 255):
        assert (m * raw + b * 10**b_exp) * 10.0**r_exp == pytest.approx(sensor.decode(raw))
    limits = dict(zip(("unr", "ucr", "unc", "lnr", "lcr", "lnc"), body[31:37], strict=True))
    for name, limit in sensor.thresholds.items():
        assert sensor.decode(limits[name]) == pytest.approx(limit, abs=sensor.step / 2)
    assert body[43:].decode("ascii")[-len(sensor.name) :] == sensor.name


def test_a_one_percent_flutter_of_a_12_volt_rail_is_six_steps() -> None:
    rail = sensors.BY_SIGNAL["psu1_12v"]
    assert rail.encode(12.12) - rail.encode(12.00) == 6


def test_readings_out_of_range_stick_to_the_ends() -> None:
    rail = sensors.BY_SIGNAL["psu1_12v"]
    assert (rail.encode(0.0), rail.encode(99.0)) == (0, 255)


def test_a_reading_is_never_half_written(tmp_path: Path) -> None:
    for raw in (255, 7, 100):
        bmc.write_reading(tmp_path, "fan1", raw)
        text = (tmp_path / "fan1").read_text()
        assert (int(text), len(text)) == (raw, 4)


def test_compact_records_carry_their_name_and_length() -> None:
    for sensor in sensors.DISCRETE:
        record = bmc.compact_record(sensor)
        _, version, kind, length = struct.unpack("<HBBB", record[:5])
        assert (version, kind, length) == (0x51, 2, len(record) - 5)
        assert record.endswith(sensor.name.encode())


# ---- what Prometheus is served ----


def test_the_textfile_is_what_an_exporter_would_serve() -> None:
    machine = Machine("node-a", 1, T0)
    text = series.textfile(machine.boot_time, readings(machine, np.array([T0])))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all("Synthetic" in family.documentation for family in families.values())
    assert families["node_edac_correctable_errors"].type == "counter"
    assert families["node_boot_time_seconds"].samples[0].value == machine.boot_time
    everything = [
        (sample.name, tuple(sorted(sample.labels.items()))) for family in families.values() for sample in family.samples
    ]
    assert len(everything) == len(set(everything)) == len(series.TEXTFILE) + 1


def test_controllers_count_what_their_csrows_count() -> None:
    fault = Fault(node="n", kind="dimm", onset=T0, seconds_to_errors=300.0, seconds_to_death=600.0)
    columns = readings(Machine("n", 1, T0), T0 + np.arange(600.0), [fault])
    values = {one.selector(): one.value(columns) for one in series.TEXTFILE if one.metric.startswith("node_edac")}
    rows = [values[f'node_edac_csrow_correctable_errors_total{{controller="0",csrow="{row}"}}'] for row in ("0", "1")]
    assert np.array_equal(values['node_edac_correctable_errors_total{controller="0"}'], rows[0] + rows[1])


def test_log_lines_look_like_rsyslogs() -> None:
    line = kernel_log.Line(T0 + 0.25, "EDAC MC0: 1 CE memory read error")
    assert kernel_log.syslog(line, "node-a", "kernel", 12.5) == (
        "2026-09-21T14:13:20.250000+00:00 node-a kernel: [   12.500000] EDAC MC0: 1 CE memory read error\n"
    )


def test_logged_memory_errors_add_up_to_the_counter() -> None:
    machine = Machine("n", 3, T0)
    fault = Fault(node="n", kind="dimm", onset=T0, seconds_to_errors=100.0, seconds_to_death=400.0)
    texts = [line.text for line in kernel_log.lines(machine, [fault], fault.errors_at, T0 + 400.0)]
    logged = sum(int(text.split()[2]) for text in texts if " CE memory read error" in text)
    edges = readings(machine, np.array([fault.errors_at - 1.0, T0 + 399.0]), [fault])["ce_0_1"]
    assert logged == edges[1] - edges[0] > 1000


# ---- breaking and mending ----


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab("test", tmp_path, 9)
    for host, name in enumerate(("node-a", "node-b"), start=11):
        made.nodes[name] = made.make_node(name, f"10.77.9.{host}", "none", None)
    faults.ensure(made)
    return made


def test_a_fault_goes_through_its_phases(lab: Lab) -> None:
    faults.start(lab, "node-a", "psu", seconds_to_errors=60.0, seconds_to_death=100.0, now=T0)
    phases = [faults.status(lab, now=T0 + t)[0].phase for t in (0.0, 59.0, 60.0, 99.0, 100.0)]
    assert phases == ["flutter", "flutter", "errors", "errors", "dead"]


def test_a_mended_node_can_break_again(lab: Lab) -> None:
    faults.start(lab, "node-a", "fan", now=T0)
    assert [fault.phase for fault in faults.clear(lab, "node-a", now=T0 + 5.0)] == ["cleared"]
    assert faults.clear(lab, "node-a", now=T0 + 6.0) == []
    faults.start(lab, "node-a", "disk", seconds_to_death=None, now=T0 + 7.0)
    assert [fault.phase for fault in faults.status(lab, now=T0 + 1e6)] == ["cleared", "errors"]


def test_the_same_lab_has_the_same_machines_after_a_restart(lab: Lab) -> None:
    faults.start(lab, "node-b", "nic", now=T0)
    assert faults.ensure(lab) == faults.load(lab)
    assert faults.load(lab).machine("node-a").boot_time == faults.ensure(lab).machine("node-a").boot_time


@pytest.mark.parametrize(
    ("node", "kind", "errors", "death", "words"),
    [
        ("node-z", "psu", 60.0, 100.0, "node-z"),
        ("node-a", "flood", 60.0, 100.0, "expected one of psu"),
        ("node-a", "psu", 0.0, 100.0, "expected more than 0"),
        ("node-a", "psu", float("nan"), None, "expected more than 0"),
        ("node-a", "psu", 60.0, 60.0, "expected more than seconds to errors"),
    ],
)
def test_a_fault_that_can_not_be_is_refused(
    lab: Lab, node: str, kind: FaultKind, errors: float, death: float | None, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        faults.start(lab, node, kind, seconds_to_errors=errors, seconds_to_death=death)
    assert faults.status(lab) == []


def test_a_broken_node_is_not_broken_twice(lab: Lab) -> None:
    faults.start(lab, "node-a", "psu", now=T0)
    with pytest.raises(BadInput, match=r"node-a has the fault psu already.*--clear"):
        faults.start(lab, "node-a", "fan", now=T0 + 1.0)


def test_a_dead_node_is_neither_broken_nor_mended(lab: Lab) -> None:
    faults.start(lab, "node-a", "psu", now=T0)
    with faults.update(lab) as state:
        state.killed["node-a"] = T0 + 600.0
    with pytest.raises(LabError, match="dead"):
        faults.clear(lab, "node-a")
    with pytest.raises(LabError, match="dead"):
        faults.start(lab, "node-a", "fan")


def test_hardware_that_was_never_started_says_so(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no hardware yet"):
        faults.status(Lab("test", tmp_path, 9))
