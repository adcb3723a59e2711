"""The lab's hardware for real: BMCs, exporters and a Prometheus on three nodes without guests.

Each fault is run at a tempo of seconds; the tests wait for what they expect, never for a time.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Generator
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from lab.hardware import bmc, faults, sensors, series, telemetry
from lab.hardware import machine as hardware
from lab.hardware.telemetry import SCRAPE_SECONDS
from lab.hardware.trajectory import FaultKind
from lab.lifecycle import down
from lab.nodes import certificates, hypervisor, network, power, processes
from lab.nodes.node import Lab, machine_boot_id, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

NAME = "hwtest"
RAIL = 'ipmi_voltage_volts{name="PSU1 12V Out"}'


@pytest.fixture(scope="module")
def lab() -> Generator[Lab]:
    down.down(NAME)
    with Lab.lock(NAME) as root:
        made = Lab(NAME, root, network.choose_index(NAME))
        try:
            made.journal.add("machine", boot_id=machine_boot_id())
            made.save()
            network.create(made)
            made.save()
            certificates.create(made)
            for node in made.nodes.values():
                hypervisor.start_libvirtd(made, node)
            hardware.start(made)
            telemetry.start(made)
            made.journal.add("up", at=time.time())
            yield made
        finally:
            down.remove(root, lambda line: None)


Samples = list[tuple[float, float]]


def query(lab: Lab, promql: str, **range_: float) -> dict[tuple[tuple[str, str], ...], Samples]:
    """Label set → samples; an instant query without a range."""
    path = "query_range" if range_ else "query"
    with urlopen(f"{telemetry.url(lab)}/api/v1/{path}?{urlencode({'query': promql, **range_})}", timeout=30) as answer:
        result = json.load(answer)["data"]["result"]
    return {
        tuple(sorted(one["metric"].items())): [(float(t), float(v)) for t, v in one.get("values", [one.get("value")])]
        for one in result
    }


def raw(lab: Lab, selector: str, window: str) -> Samples:
    """The stored samples of the one series that matches."""
    (samples,) = query(lab, f"{selector}[{window}]").values()
    return samples


def sel(lab: Lab, node: str) -> list[str] | None:
    """The SEL as an operator sees it; None when the BMC does not answer."""
    argv = bmc.of(lab, lab.node(node)).ipmitool("-N", "1", "-R", "1", "sel", "elist")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return [line for line in done.stdout.splitlines() if "|" in line] if done.returncode == 0 else None


def log(lab: Lab, node: str, name: str) -> str:
    return (lab.node(node).run_dir / "log" / name).read_text()


def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    wait_until(condition, seconds=seconds, what=what, every=0.25)


def in_node(selector: str, node: str) -> str:
    return selector.replace("}", f',node="{node}"}}')


def test_every_signal_has_a_day_of_history_that_runs_on_into_the_present(lab: Lab) -> None:
    now = time.time()
    state = faults.load(lab)
    for node in lab.nodes:
        for one in series.all_series(state.machine(node).boot_time):
            labels = one.labels | telemetry.target_labels(lab, node, one.job)
            selector = one.metric + "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
            (samples,) = query(lab, selector, start=now - 86_340.0, end=now, step=60.0).values()
            assert len(samples) == 1440, selector
            assert now - raw(lab, selector, "5m")[-1][0] < 4 * SCRAPE_SECONDS, selector


def test_live_readings_continue_the_history(lab: Lab) -> None:
    """Live values stay within what the day before held, give or take a sensor's step."""
    for sensor in sensors.ANALOG:
        for node in lab.nodes:
            selector = f'{sensor.metric}{{name="{sensor.name}",node="{node}"}}'
            past = [value for _, value in raw(lab, f"{selector}", "24h")][:1000]
            live = [value for _, value in raw(lab, selector, "10s")]
            room = 2 * sensor.step + 0.05 * (max(past) - min(past))
            assert min(past) - room <= min(live) <= max(live) <= max(past) + room, selector


def test_what_the_bmc_says_over_the_network_is_what_prometheus_has(lab: Lab) -> None:
    argv = bmc.of(lab, lab.node("node-c")).ipmitool("-c", "sdr", "elist", "full")
    listed = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout
    assert [row.split(",")[0] for row in listed.splitlines()] == [sensor.name for sensor in sensors.ANALOG]
    names = query(lab, 'group by (name) ({job="ipmi",node="node-c",name!=""})')
    assert {dict(key)["name"] for key in names} == {s.name for s in (*sensors.ANALOG, *sensors.DISCRETE)}
    assert all(samples[0][1] == 1 for samples in query(lab, "ipmi_up").values())


def test_a_failing_psu_flutters_unseen_then_alarms_then_takes_node_and_bmc(lab: Lab) -> None:
    node = "node-a"
    began = faults.start(lab, node, "psu", seconds_to_errors=40.0, seconds_to_death=65.0)
    rail = in_node(RAIL, node)
    ((_, lowest),) = next(iter(query(lab, f"min_over_time({rail}[24h] offset 1m)").values()))

    def after(seconds: str = "1m") -> Samples:
        return [(t, v) for t, v in raw(lab, rail, seconds) if t > began.onset + 2.0]  # one tick and one BMC poll

    wait(lambda: len(after()) >= 2, 30, "two scrapes after the onset")
    assert min(v for _, v in after()[:2]) < lowest, "two scrapes show it"
    assert sel(lab, node) == []
    assert log(lab, node, "bmc.log") == ""

    wait(lambda: bool(sel(lab, node)), 90, "the BMC logs a crossed threshold")
    assert time.time() >= began.errors_at
    wait(lambda: any("Lower Non-critical going low" in line for line in sel(lab, node) or []), 30, "12 V below 11.40")
    assert not any("Pre-Init" in line for line in sel(lab, node) or []), "the SEL's clock is set"
    wait(lambda: "PSU1 12V Out Lower Non-critical" in log(lab, node, "bmc.log"), 30, "the collected log has it too")

    wait(lambda: power.was_killed(lab, node), 90, "the node dies")
    assert time.time() >= (began.death_at or 0.0)
    wait(lambda: not lab.node(node).alive() and sel(lab, node) is None, 30, "node and BMC are gone")
    wait(lambda: not any(t.up for t in telemetry.status(lab).targets if t.node == node), 30, "Prometheus sees it")
    assert all(t.up for t in telemetry.status(lab).targets if t.node != node), "the others live"


@pytest.mark.parametrize(
    ("kind", "words"),
    [("disk", "I/O error, dev sda"), ("dimm", "EDAC MC0"), ("nic", "eno1: NIC Link is Down")],
)
def test_errors_reach_the_kernel_log_only_when_the_flutter_ends(lab: Lab, kind: FaultKind, words: str) -> None:
    node = "node-b"
    before = log(lab, node, "kern.log").count(words)
    began = faults.start(lab, node, kind, seconds_to_errors=6.0, seconds_to_death=None)
    wait(lambda: log(lab, node, "kern.log").count(words) > before, 30, f"{words!r} in kern.log")
    assert time.time() >= began.errors_at
    faults.clear(lab, node)


def test_a_failed_feed_is_seen_as_lost_input_and_mending_it_ends_that(lab: Lab) -> None:
    node = "node-b"
    faults.start(lab, node, "power", seconds_to_errors=2.0, seconds_to_death=None)
    wait(lambda: any("Power Supply AC lost" in line for line in sel(lab, node) or []), 60, "the BMC logs lost input")
    faults.clear(lab, node)
    vin = in_node('ipmi_voltage_volts{name="PSU2 Vin"}', node)
    wait(lambda: raw(lab, vin, "30s")[-1][1] > 220.0, 30, "the input is back")


def test_switching_a_node_off_through_its_bmc_kills_the_node_and_leaves_the_bmc(lab: Lab) -> None:
    node = "node-c"
    at = bmc.of(lab, lab.node(node))

    def chassis(*words: str) -> str:
        argv = at.ipmitool("chassis", "power", *words)
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout

    assert "is on" in chassis("status")
    chassis("off")
    wait(lambda: not lab.node(node).alive(), 30, "the node ends")
    assert "is off" in chassis("status")
    assert processes.in_network_namespace(lab.node(node).namespace) == []
