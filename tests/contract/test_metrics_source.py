"""What every MetricsSource must do: held to a stub on a socket, and to a real Prometheus over backfilled blocks."""

from __future__ import annotations

import math
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scenes.stub_prometheus import Reply, as_json, grid, matrix, series, stub_prometheus

from agent.assess.assess import assess
from agent.observe.observe import observe
from lab.hardware import physics, replay
from lab.hardware.series import all_series
from lab.hardware.trajectory import Fault
from models.errors import BadInput, LifeboatError
from models.risk.signal import STATISTICS, Component, Limits, Signal, SignalHistory, Summaries
from tools.prometheus.metrics import PrometheusMetrics
from tools.signals import load_catalogue
from tools.simulated.fleet import SimulatedFleet

NODES = ("node-a", "node-b")
START = float(int(time.time()) - 7200)
"""Blocks from the past: two hours are enough for every window of the shipped PromQL."""
SECONDS, STEP = 5400.0, 15.0
END = START + SECONDS
GAP = (START + 1800.0, START + 2700.0)
"""Longer than Prometheus's five minutes of looking back."""
NOT_IN_THE_LAB = {
    "hwmon_alarm",
    "other_temperature_celsius",
    "zfs_pool_status",
    "redfish_system_status",
    "psu_redundancy",
    "battery_status",
    "redfish_psu_status",
    "redfish_psu_input_volts",
    "mains_online",
    "cpu_thermal_margin_celsius",
    "cpu_core_over_critical_celsius",
    "add_on_temperature_status",
    "redfish_fan_status",
    "redfish_temperature_status",
    "redfish_cpu_temperature_celsius",
    "redfish_inlet_temperature_celsius",
    "fan_redundancy",
    "redfish_memory_status",
    "filesystem_read_only_by_choice",
    "raid_missing_disks",
    "raid_stopped",
    "smartmon_status",
    "smartmon_reallocated_sectors",
    "smartmon_reported_uncorrectable",
    "smartmon_pending_sectors",
    "smartmon_defects_per_hour",
    "nvme_cli_media_errors",
    "nvme_cli_critical_warning",
    "redfish_drive_status",
    "redfish_volume_status",
    "redfish_controller_status",
    "redfish_cpu_status",
    "processor_status",
    "hardware_log_service_failed",
    "hardware_sensor_status",
    "gpu_fatal_xid",
    "gpu_double_bit_errors",
    "gpu_remap_failed",
    "gpu_retired_pages",
    "gpu_temperature_celsius",
    "gpu_thermal_slowdown_share",
    "cpu_core_temperature_celsius",
    "raid_failed_disks",
    "libvirt_up",
    "textfile_age_seconds",
    "vms_defined",
    "node_input_watts",
    "fan_speed_ratio",
    "memory_corrupted_bytes",
    "disk_interface_crc_errors",
    "disk_spin_retries",
    "disk_power_cycles",
    "disk_high_fly_writes",
    "disk_reallocation_events",
    "scsi_grown_defects",
    "scsi_uncorrected_errors",
    "nvme_error_log_entries",
    "filesystem_read_only",
    "disk_busy_share",
    "bond_lost_links",
    "cpu_busy_share",
    "cpu_waiting_share",
    "clock_offset_seconds",
}
"""Shipped signals that the lab's exporters don't have."""
FAULT = Fault(node="node-a", kind="psu", onset=END - 120.0, seconds_to_errors=150.0, seconds_to_death=300.0)


@dataclass(frozen=True)
class Source:
    metrics: PrometheusMetrics

    is_stub: bool

    def read(self, promql: str, *, start: float = START, end: float = END, step: float = STEP, part: str | None = "name",
             ) -> list[SignalHistory]:  # fmt: skip
        signal = a_signal(promql, part)
        at = [datetime.fromtimestamp(t, UTC) for t in (start, end)]
        return self.metrics.histories(signal, start=at[0], end=at[1], step_seconds=step)


def a_signal(promql: str, part: str | None = "name") -> Signal:
    return Signal(
        name="thing", component=Component.POWER, unit="V", promql=promql, part_label=part, limits=Limits(), meaning="it"
    )


def ramp(t: float) -> float:
    return round((t - START) / 100.0, 4)


def stubbed(parameters: Mapping[str, str]) -> Reply:
    """The same few series as in the blocks, as far as the contract asks for them."""
    query = parameters["query"]
    inside = [t for t in grid(parameters) if START <= t <= END and not GAP[0] + 300 < t < GAP[1]]
    one = [series({"node": node, "name": "x"}, [(t, str(ramp(t))) for t in inside]) for node in NODES]
    if "(((" in query:
        return as_json(
            {"status": "error", "errorType": "bad_data", "error": "parse error: unclosed left parenthesis"}, 400
        )
    if query == "ramp":
        return matrix(*one)
    if query == "twice":
        again = [{**s, "metric": s["metric"] | {"job": job}} for s in one for job in ("new", "old")]
        return matrix(*again)
    return matrix()


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        pytest.skip("no Prometheus here")
    home = tmp_path_factory.mktemp("prometheus")
    (home / "history.om").write_text(openmetrics())
    blocks = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", "history.om", "data"]
    subprocess.run(blocks, cwd=home, check=True, capture_output=True, timeout=120)
    (home / "prometheus.yml").write_text("global: {}\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address={address}",
    ]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"http://{address}/-/ready", timeout=1)
                break
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, "Prometheus is not ready within 60 s"
            time.sleep(0.1)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def openmetrics() -> str:
    """The lab's hardware series of two nodes, one of which breaks at the end, and a few for the contract."""
    times = np.arange(START, END + 1, STEP)
    rows: dict[str, list[str]] = {"ramp": [], "twice": []}
    for node in NODES:
        machine = physics.Machine(node, 1, START)
        columns = physics.readings(machine, times, [FAULT])
        for one in all_series(machine.boot_time):
            labels = ",".join(f'{k}="{v}"' for k, v in {**one.labels, "node": node, "job": one.job}.items())
            rows.setdefault(one.metric, []).extend(
                f"{one.metric}{{{labels}}} {value!r} {t}"
                for value, t in zip(one.value(columns).tolist(), times, strict=True)
            )
        kept = [t for t in times if not GAP[0] <= t < GAP[1]]
        rows["ramp"] += [f'ramp{{node="{node}",name="x"}} {ramp(t)} {t}' for t in kept]
        rows["twice"] += [
            f'twice{{node="{node}",name="x",job="{job}"}} {ramp(t)} {t}' for job in ("new", "old") for t in times
        ]
        rows.setdefault("up", []).extend(f'up{{node="{node}",job="node"}} 1 {t}' for t in times)
    return "".join("\n".join(lines) + "\n" for lines in rows.values()) + "# EOF\n"


@pytest.fixture(params=["stub", pytest.param("prometheus", marks=pytest.mark.lab)])
def source(request: pytest.FixtureRequest) -> Iterator[Source]:
    if request.param == "prometheus":
        metrics = PrometheusMetrics(request.getfixturevalue("prometheus"), node_label="node")
        yield Source(metrics, is_stub=False)
        metrics.close()
        return
    with stub_prometheus(stubbed) as stub:
        metrics = PrometheusMetrics(stub.url, node_label="node")
        yield Source(metrics, is_stub=True)
        metrics.close()


def test_each_node_has_its_history_on_the_grid(source: Source) -> None:
    a, b = source.read("ramp", end=GAP[0] - STEP)
    assert (a.node, b.node) == NODES
    assert a.times[0] == START
    assert np.allclose(a.values, [ramp(t) for t in a.times])


def test_where_nothing_was_reported_is_nan(source: Source) -> None:
    a, _ = source.read("ramp")
    silent = (a.times > GAP[0] + 330) & (a.times < GAP[1])
    assert silent.sum() > 30
    assert np.all(np.isnan(a.values[silent]))
    assert np.all(np.isfinite(a.values[a.times >= GAP[1]]))


def test_two_series_for_one_node_are_refused(source: Source) -> None:
    with pytest.raises(BadInput, match=r"job='new' and 'old'|job='old' and 'new'"):
        source.read("twice")


def test_promql_that_is_none_is_refused_with_the_source_s_own_words(source: Source) -> None:
    with pytest.raises(BadInput, match=r"parse error.*fix its promql"):
        source.read("sum(((")


def test_an_unknown_metric_has_no_history(source: Source) -> None:
    assert source.read("no_such_metric") == []


def test_more_steps_than_one_answer_may_hold(source: Source) -> None:
    a, _ = source.read("ramp", start=START - 10_000, end=END, step=1)
    assert a.times.size == 10_000 + SECONDS + 1
    assert np.all(np.isnan(a.values[:10_000]))
    assert np.isfinite(a.values[-1])


# ---- summaries, on the real one only: it is Prometheus that computes them ----


def test_summaries_are_what_prometheus_computes_over_each_stretch(source: Source) -> None:
    if source.is_stub:
        pytest.skip("a stub computes nothing")
    first = int(START // 300 + 2) * 300
    signal = a_signal("ramp")
    found = source.metrics.summaries(signal, first=first, last=first + 600, step_seconds=300, resolution_seconds=15)
    assert found.parts == (("node-a", "x"), ("node-b", "x"))
    assert found.times.tolist() == [first, first + 300, first + 600]
    # The subquery's steps are multiples of 15 s; each sees the newest sample by then. Samples lie START + n × 15 s.
    for k, end in enumerate(found.times):
        steps = [t for t in range(int(end) - 300, int(end) + 1) if t % 15 == 0][-20:]
        seen = [ramp(START + (t - START) // STEP * STEP) for t in steps]
        last, low, high, mean, count = found.values[:, 0, k]
        assert (last, low, high) == (seen[-1], pytest.approx(min(seen), abs=0.16), max(seen))
        assert mean == pytest.approx(np.mean(seen), abs=0.1)
        assert count in (20, 21), "Prometheus 3 leaves the left end of a range out"


def test_hours_and_last_values_alone_say_what_stretches_say(source: Source) -> None:
    if source.is_stub:
        pytest.skip("a stub computes nothing")
    first, signal = int(START // 300 + 2) * 300, a_signal("ramp")

    def read(step: int, **settings: bool) -> Summaries:
        return source.metrics.summaries(
            signal, first=first + step, last=first + 1200, step_seconds=step, resolution_seconds=60, **settings
        )

    stretches, alone, whole = read(300), read(300, last_only=True), read(1200)
    assert alone.parts == stretches.parts == whole.parts
    assert alone.values[0].tolist() == stretches.values[0].tolist()
    assert np.isnan(alone.values[1:]).all()
    last, low, high, mean, count = whole.values[:, :, 0]
    assert last.tolist() == stretches.values[0, :, -1].tolist()
    assert low.tolist() == stretches.values[1].min(axis=-1).tolist()
    assert high.tolist() == stretches.values[2].max(axis=-1).tolist()
    assert np.allclose(mean, stretches.values[3].mean(axis=-1), atol=0.1)
    assert set(count) <= {20.0, 21.0}


def test_series_that_stand_still_keep_their_own_times() -> None:
    told = {"a": "1 1 1", "b": "1 1 1", "c": "1 2 NaN", "d": "- 1 1", "e": "1 1 1", "f": "- 1 1", "g": "- - 7"}

    def samples(values: str) -> list[list[float | str]]:
        return [[t, v] for t, v in zip((600, 900, 1200), values.split(), strict=True) if v != "-"]

    def answer(_: Mapping[str, str]) -> Reply:
        rows = [
            {"metric": {"node": n, "name": "x", "stat": "last"}, "values": samples(values)}
            for n, values in told.items()
        ]
        return matrix(*rows)

    with stub_prometheus(answer) as stub:
        metrics = PrometheusMetrics(stub.url, node_label="node")
        found = metrics.summaries(a_signal("ramp"), first=600, last=1200, step_seconds=300, resolution_seconds=15)
        metrics.close()
    for (node, _), values in zip(found.parts, found.values[0], strict=True):
        wanted = [math.nan if value == "-" else float(value) for value in told[node].split()]
        assert np.array_equal(values, wanted, equal_nan=True), node


def test_a_recorded_summary_is_read_as_it_is() -> None:
    signal = a_signal("ramp")

    def answer(parameters: Mapping[str, str]) -> Reply:
        assert parameters["query"] == "lifeboat:thing:5m"
        row = [series({"node": "n", "name": "x", "stat": stat}, [(600.0, str(k))]) for k, stat in enumerate(STATISTICS)]
        return matrix(*row)

    with stub_prometheus(answer) as stub:
        metrics = PrometheusMetrics(stub.url, node_label="node")
        found = metrics.summaries(signal, first=600, last=600, step_seconds=300, resolution_seconds=15, recorded=True)
        metrics.close()
    assert found.values[:, 0, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"node": "n", "name": "x", "stat": "last"}] * 2, "two series for node 'n', part 'x'"),
        ([{"name": "x", "stat": "last"}], "without the label 'node'"),
        ([{"node": "n", "name": "x"}], "can't be read"),
        ([{"node": "n", "name": "x", "stat": "median"}], "can't be read"),
    ],
)
def test_summaries_that_make_no_sense_are_refused(rows: list[dict[str, str]], said: str) -> None:
    with stub_prometheus(lambda _: matrix(*(series(row, [(600.0, "1")]) for row in rows))) as stub:
        metrics = PrometheusMetrics(stub.url, node_label="node")
        with pytest.raises(LifeboatError, match=said):
            metrics.summaries(a_signal("ramp"), first=600, last=600, step_seconds=300, resolution_seconds=15)
        metrics.close()


# ---- the shipped catalogue, on the real one only ----


@pytest.mark.lab
@pytest.mark.parametrize("signal", load_catalogue(), ids=lambda s: s.name)
def test_prometheus_accepts_every_shipped_query(prometheus: str, signal: Signal) -> None:
    metrics = PrometheusMetrics(prometheus, node_label="node")
    end = datetime.fromtimestamp(END, UTC)
    found = metrics.histories(signal, start=end - timedelta(minutes=5), end=end, step_seconds=15)
    slot = int(END // 300) * 300
    summed = metrics.summaries(signal, first=slot, last=slot, step_seconds=300, resolution_seconds=15)
    metrics.close()
    assert {(h.node, h.part) for h in found} <= set(summed.parts)
    assert ({h.node for h in found} == set(NODES)) != (signal.name in NOT_IN_THE_LAB)


@pytest.mark.lab
def test_what_a_replay_computes_is_what_prometheus_answers(prometheus: str) -> None:
    """The bench's replay stands for Prometheus only as long as both say the same; rates may differ by one sample."""
    metrics = PrometheusMetrics(prometheus, node_label="node")
    signals = load_catalogue()
    computed = {
        (h.signal.name, h.part): h
        for h in replay.histories(
            physics.Machine("node-a", 1, START), np.arange(END - 600, END + 1, STEP), [FAULT], signals=signals
        )
    }
    end = datetime.fromtimestamp(END, UTC)
    compared = 0
    for signal in signals:
        for history in metrics.histories(signal, start=end - timedelta(minutes=10), end=end, step_seconds=STEP):
            twin = computed.get((signal.name, history.part))
            if (
                history.node == "node-a"
                and twin is not None
                and "/h" not in signal.unit
                and signal.name != "psu_status"
            ):
                assert np.allclose(history.values, twin.values), (signal.name, history.part)
                compared += 1
    metrics.close()
    assert compared >= 30


@pytest.mark.lab
def test_a_breaking_supply_is_found_through_prometheus(prometheus: str) -> None:
    fleet = SimulatedFleet()
    nodes = {name: fleet.add_node(name) for name in NODES}
    metrics, now = PrometheusMetrics(prometheus, node_label="node"), datetime.fromtimestamp(END, UTC)
    observation = observe(nodes, now=now, metrics=metrics, signals=load_catalogue(), scrape_interval_seconds=STEP)
    metrics.close()
    a, b = assess(observation, load_catalogue(), now)
    assert a.probability["2h"] >= 0.5
    assert a.drivers[0].why.startswith("PSU1 12V Out: 11.")
    assert b.probability["2h"] < 0.01
    assert observation.unread == ()
