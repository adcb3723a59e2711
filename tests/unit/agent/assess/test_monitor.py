"""`lifeboat assess` and the agent's look, from settings to risks, over a stub Prometheus and simulated nodes."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from weakref import ref

import pytest
import yaml
from scenes.stub_prometheus import Reply, Stub, as_json, grid, matrix, series, stub_prometheus
from typer.testing import CliRunner

from agent.assess.monitor import FleetMonitor
from agent.cli.assess import app
from agent.settings import Settings
from models.errors import BadInput, Indeterminate, MetricsUnavailable, ModelInvalid
from models.fleet import VmState
from tools.history.store import HistoryStore
from tools.ports.hypervisor import Hypervisor
from tools.simulated.fleet import SimulatedFleet

EDGE = 11.31
"""Volts that PSU1 of node-a reads; the others are well."""


def answer(parameters: Mapping[str, str]) -> Reply:
    """12 V rails of two nodes, and nothing else; node-a's first supply fell below its limit a minute ago."""
    if "12[ _.]?v" not in parameters["query"]:
        return matrix()
    now = datetime.now(UTC).timestamp()
    found = []
    for node in ("node-a", "node-b"):
        for part in ("PSU1 12V Out", "PSU2 12V Out"):
            broken = (node, part) == ("node-a", "PSU1 12V Out")
            values = [(t, str(EDGE if broken and t > now - 60 else 12.1)) for t in grid(parameters)]
            found.append(series({"node": node, "name": part}, values))
    return matrix(*found)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stub_prometheus(answer) as running:
        yield running


def settings(url: str, **more: object) -> Settings:
    nodes = [{"name": name, "libvirt_uri": f"qemu+tls://{name}/system"} for name in ("node-a", "node-b")]
    prometheus = {"url": url, "node_label": "node", "scrape_interval_seconds": 5}
    return Settings.model_validate({"prometheus": prometheus, "nodes": nodes, **more})


def simulated() -> tuple[SimulatedFleet, dict[str, Hypervisor]]:
    fleet = SimulatedFleet()
    return fleet, {name: fleet.add_node(name) for name in ("node-a", "node-b")}


def test_a_look_gives_the_fleet_and_a_risk_for_each_node(stub: Stub) -> None:
    eyes = FleetMonitor(settings(stub.url, simulated=True), simulated()[1])
    fleet, (a, b) = eyes.poll()
    eyes.close()
    assert [node.name for node in fleet.nodes] == [a.node, b.node] == ["node-a", "node-b"]
    assert a.probability["2h"] > 0.9
    assert a.drivers[0].why == "PSU1 12V Out: 11.31 V, past its limit, limit 11.40 V, usually 12.10"
    assert b.probability["2h"] < 0.01
    assert a.simulated
    both = set(a.unknown) & set(b.unknown)
    assert both
    assert {id(what) for what in a.unknown if what in both} == {id(what) for what in b.unknown if what in both}, (
        "kept once"
    )


def test_who_looks_no_more_keeps_nothing_of_its_signals(stub: Stub) -> None:
    """At each reload the catalogue is read anew: the one before goes."""
    eyes = FleetMonitor(settings(stub.url), simulated()[1])
    eyes.poll()
    signals = [(signal.name, ref(signal)) for signal in eyes.signals]
    eyes.close()
    del eyes
    gc.collect()
    assert [name for name, kept in signals if kept() is not None] == []


@pytest.mark.slow
def test_a_second_look_asks_for_less(stub: Stub) -> None:
    eyes = FleetMonitor(settings(stub.url), simulated()[1])
    eyes.poll()
    first = len(stub.asked)
    eyes.poll()
    eyes.close()
    spans = [float(q["end"]) - float(q["start"]) for q in stub.asked[first:]]
    assert max(spans) <= 15.0
    assert len(spans) < first


@pytest.mark.slow
def test_an_agent_that_restarts_asks_for_summaries_of_the_gap_only(tmp_path: Path) -> None:
    def computed(parameters: Mapping[str, str]) -> Reply:
        if "_over_time" not in parameters["query"]:
            return answer(parameters)
        if "12[ _.]?v" not in parameters["query"]:
            return matrix()
        rows = [({"node": n, "name": "PSU1 12V Out", "stat": s}, "12.1" if s != "count" else "20")
                for n in ("node-a", "node-b") for s in ("last", "min", "max", "mean", "count")]  # fmt: skip
        return matrix(*(series(labels, [(t, value) for t in grid(parameters)]) for labels, value in rows))

    with stub_prometheus(computed) as stub:
        for restart in range(2):
            stub.asked.clear()
            eyes = FleetMonitor(settings(stub.url, state_dir=str(tmp_path)), simulated()[1], keep_ring=True)
            _, (a, b) = eyes.poll()
            eyes.close()
            assert a.drivers[0].why.endswith("usually 12.10"), "the healthy past comes out of the ring"
            assert b.probability["2h"] < 0.01
            summaries = [q for q in stub.asked if "_over_time" in q["query"] and q["step"] == "300"]
            coarse = [q for q in stub.asked if "_over_time" not in q["query"] and q["step"] == "300"]
            assert (len(summaries) > 3 * len(eyes.signals)) == (restart == 0), len(summaries)
            assert coarse == []
        eyes = FleetMonitor(settings(stub.url, state_dir=str(tmp_path)), simulated()[1], keep_ring=True)
        assert eyes._memory.ring is not None
        eyes._memory.ring.older.clear()  # as some hundred looks later, when the old hours have been read, too
        eyes.poll()
        eyes.close()
    kept = HistoryStore(tmp_path / "history", eyes.signals).read()
    assert kept.until >= datetime.now(UTC).timestamp() - 3720, "the last complete hour is kept for good"
    assert kept.rows["unit"].unique().sort().to_list() == ["node-a", "node-b"]
    assert kept.rows["psu_12v_volts.margin"].to_list() == pytest.approx([0.5] * kept.rows.height)


def test_no_prometheus_is_one_clear_error() -> None:
    eyes = FleetMonitor(settings("http://127.0.0.1:1"), simulated()[1])
    with pytest.raises(MetricsUnavailable, match=r"http://127\.0\.0\.1:1 is unreachable"):
        eyes.poll()
    eyes.close()


def test_a_broken_signal_is_one_clear_line_and_blinds_nobody(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "signals.yaml"
    file.write_text(
        "signals: [{name: psu_12v_volts, part_label: null, title: rail}, {name: rail_5v_volts, part_label: name, promql: "
        "'min by ($node_label, name) (x{y=\"12[ _.]?v\"})', limits: {low: 11.4, high: 12.6, nominal: 12}}]"
    )
    eyes = FleetMonitor(settings(stub.url, signals_file=str(file)), simulated()[1])
    _, (a, b) = eyes.poll()
    eyes.close()
    for risk in (a, b):
        (line,) = (line for line in risk.unknown if line.startswith("psu_12v_volts"))
        assert "two series for node 'node-a' that differ in name=" in line
    assert a.probability["2h"] > 0.8 > 0.01 > b.probability["2h"], "the other signals are judged as ever"


def test_a_vm_running_twice_stops_the_look_and_calls_a_human(stub: Stub) -> None:
    fleet, nodes = simulated()
    uuid = fleet.add_vm("node-a", "web", shared=True)
    domain = fleet.machines["node-a"].domains[uuid]
    fleet.machines["node-b"].domains[uuid] = type(domain)(
        xml=domain.xml, described=domain.described, state=VmState.RUNNING
    )
    eyes = FleetMonitor(settings(stub.url), nodes)
    with pytest.raises(Indeterminate, match=r"'web'.*node-a and node-b at once") as error:
        eyes.poll()
    eyes.close()
    assert error.value.exit_code == 4


def test_hardware_logs_reach_the_risk(stub: Stub, tmp_path: Path) -> None:
    stamp = (datetime.now(UTC) - timedelta(minutes=2)).isoformat()
    (tmp_path / "kern.log").write_text(f"{stamp} node-b kernel: EDAC MC0: 1 UE memory read error on DIMM_A1\n")
    nodes = [
        {"name": "node-a", "libvirt_uri": "qemu+tls://node-a/system", "hardware_logs": [str(tmp_path / "missing")]},
        {"name": "node-b", "libvirt_uri": "qemu+tls://node-b/system", "hardware_logs": [str(tmp_path)]},
    ]
    eyes = FleetMonitor(settings(stub.url, nodes=nodes), simulated()[1])
    _, (a, b) = eyes.poll()
    eyes.close()
    assert b.drivers[0].why == "memory-uncorrected event on MC0/DIMM_A1, critical, last 2 min ago"
    assert b.probability["2h"] > 0.5
    assert any(line.startswith("hardware log:") and "missing" in line for line in a.unknown)


def test_a_broken_model_stops_no_look_but_is_bad_input_for_the_command(
    stub: Stub, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.lifeboat").write_bytes(b"lifeboat-model 9\nx\ny\n")
    forecast = {"model": str(tmp_path / "own.lifeboat")}
    eyes = FleetMonitor(settings(stub.url, forecast=forecast, state_dir=str(tmp_path)), simulated()[1])
    _, (a, b) = eyes.poll()
    eyes.close()
    assert a.probability["2h"] > 0.9, "the limits carry on"
    assert any(line.startswith("learned forecast: ") and "is of format 9" in line for line in b.unknown)
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"forecast": forecast}))
    result = CliRunner().invoke(app, ["--config", str(config)])
    assert isinstance(result.exception, ModelInvalid)
    assert result.exception.exit_code == 2


@pytest.fixture
def config(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tools.libvirt.fleet.connect_nodes", lambda _: simulated()[1])
    monkeypatch.setenv("COLUMNS", "100")
    file = tmp_path / "lifeboat.yaml"
    file.write_text(yaml.safe_dump(json.loads(settings(stub.url).model_dump_json(exclude_none=True))))
    return file


def test_the_command_shows_a_row_for_each_node_and_why(config: Path) -> None:
    result = CliRunner().invoke(app, ["--config", str(config)])
    assert result.exit_code == 0, result.output
    a, b = (line for line in result.output.splitlines() if "│ node-" in line)
    assert "node-a" in a
    assert "95 %" in a
    assert "cordon" in a, "it holds no vm: nothing to evacuate"
    assert "watch" in b
    assert "< 0.1 %" in b
    assert "node-a: PSU1 12V Out: 11.31 V, past its limit, limit 11.40 V, usually 12.10" in result.output
    assert "node-b: unknown: thermal: no signal of it was reported within the last day" in " ".join(
        result.output.split()
    )


def test_the_command_writes_risks_that_a_plan_can_read(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "risks.json"
    result = CliRunner().invoke(app, ["--config", str(config), "--json", "-o", str(out)])
    assert result.exit_code == 0, result.output
    shown = json.loads(result.output)
    assert shown == json.loads(out.read_text())
    assert [risk["node"] for risk in shown] == ["node-a", "node-b"]
    assert set(shown[0]) >= {"node", "probability", "drivers", "data_age_seconds"}


def test_the_command_says_what_is_wrong_with_prometheus(config: Path, tmp_path: Path) -> None:
    with stub_prometheus(
        lambda _: as_json({"status": "error", "errorType": "unavailable", "error": "starting up"}, 503)
    ) as bad:
        broken = yaml.safe_load(config.read_text())
        broken["prometheus"]["url"] = bad.url
        config.write_text(yaml.safe_dump(broken))
        result = CliRunner().invoke(app, ["--config", str(config)])
    assert isinstance(result.exception, MetricsUnavailable)
    assert "starting up" in str(result.exception)


def test_without_prometheus_in_the_settings_the_field_is_named(config: Path) -> None:
    config.write_text("nodes: []\n")
    result = CliRunner().invoke(app, ["--config", str(config)])
    assert isinstance(result.exception, BadInput)
    assert "prometheus.url" in str(result.exception)
