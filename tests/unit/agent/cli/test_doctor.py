"""`lifeboat doctor` as an operator runs it, on simulated nodes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from scenes.stub_prometheus import Reply, as_json, grid, matrix, series, stub_prometheus, vector
from typer.testing import CliRunner, Result

import tools.libvirt.fleet
from agent.cli.app import app
from models.errors import LifeboatError
from tools.simulated.fleet import SimulatedFleet

NODES = ("node-a", "node-b")


class Ward:
    """Two simulated nodes and the settings that name them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.fleet = SimulatedFleet()
        for name in NODES:
            self.fleet.add_node(name)
        self.settings: dict[str, Any] = {
            "state_dir": str(directory / "state"),
            "archive_url": f"file://{directory}/archives",
            "nodes": [{"name": name, "libvirt_uri": f"qemu+tls://{name}/system"} for name in NODES],
        }

    def doctor(self, *options: str) -> Result:
        file = self.directory / "lifeboat.yaml"
        file.write_text(json.dumps(self.settings))  # JSON is YAML
        return CliRunner().invoke(app, ["doctor", "--config", str(file), *options])

    def findings(self, *options: str) -> tuple[int, list[dict[str, str]]]:
        done = self.doctor("--json", *options)
        return done.exit_code, json.loads(done.stdout)

    def failing(self) -> set[tuple[str, str]]:
        return {(each["check"], each["subject"]) for each in self.findings()[1] if each["health"] == "fail"}


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ward:
    made = Ward(tmp_path)

    def connect_nodes(*_: object, **__: object) -> object:
        return made.fleet.hypervisors()

    monkeypatch.setattr(tools.libvirt.fleet, "connect_nodes", connect_nodes)
    return made


def test_a_fleet_in_order_is_0_and_pins_are_made_kept_and_replaced_only_by_name(ward: Ward):
    first = ward.doctor("--pin")
    assert first.exit_code == 0
    assert first.stderr.count(": pinned: sha256 ") == 2
    assert "nothing fails" in first.stdout
    assert "shows what was pinned on" in first.stdout

    ward.fleet.machines["node-b"].certificate = "another"
    swapped = ward.doctor("--pin")
    assert swapped.exit_code == 1
    assert "node-b: another is pinned, which stays" in swapped.stderr
    assert "an evacuation could fail" in swapped.stdout
    assert "lifeboat doctor --repin node-b" in " ".join(swapped.stdout.split())

    renewed = ward.doctor("--repin", "node-b")
    assert renewed.exit_code == 0
    assert renewed.stderr.startswith("node-b: pinned in place of the one before")
    assert "node-a: " not in renewed.stderr


def test_a_silent_node_is_1_and_what_is_written_is_json_alone(ward: Ward):
    ward.fleet.cut_off("node-b")
    code, findings = ward.findings("--pin")
    assert code == 1
    assert {each["subject"] for each in findings if each["health"] == "fail"} == {"node-b"}
    assert set(findings[0]) == {"check", "subject", "health", "what", "mend"}


def refused(result: Result) -> str:
    assert isinstance(result.exception, LifeboatError)
    assert result.exception.exit_code == 2
    assert "\n" not in str(result.exception)
    return str(result.exception)


def broken_settings(ward: Ward) -> str:
    ward.settings["nodes"] = "none"
    return "nodes"


def broken_policy(ward: Ward) -> str:
    policy = ward.directory / "policy.yaml"
    policy.write_text("migration: {max_clock_difference: soon}\n")
    ward.settings["policy_file"] = str(policy)
    return "max_clock_difference"


def broken_signals(ward: Ward) -> str:
    signals = ward.directory / "signals.yaml"
    signals.write_text("signals: [{name: only}]\n")
    ward.settings["signals_file"] = str(signals)
    return "signals"


@pytest.mark.parametrize("spoil", [broken_settings, broken_policy, broken_signals])
def test_a_file_that_can_not_be_read_is_2_and_one_line_with_its_field(ward: Ward, spoil: Callable[[Ward], str]):
    field = spoil(ward)
    said = refused(ward.doctor())
    assert field in said


def test_a_node_that_is_not_in_the_settings_is_2(ward: Ward):
    assert "'node-z'" in refused(ward.doctor("--repin", "node-z"))
    assert not (ward.directory / "state" / "pins.json").exists()


def test_pins_that_can_not_be_read_fail_each_node_and_are_left_alone(ward: Ward):
    pins = ward.directory / "state" / "pins.json"
    pins.parent.mkdir()
    pins.write_text("{")
    assert {("certificate", "node-a"), ("certificate", "node-b")} <= ward.failing()
    ward.doctor("--pin")
    assert pins.read_text() == "{"


def prometheus(lacks: str = "", broken: str = "") -> Callable[[Mapping[str, str]], Reply]:
    """Every signal on every node but what node-b lacks and what nobody can ask."""

    def answer(parameters: Mapping[str, str]) -> Reply:
        query = parameters["query"]
        if query == "up":
            return vector(*(({"instance": f"{node}:9100"}, time.time(), "1") for node in NODES))
        if query.startswith("node_time_seconds - "):
            return vector(
                ({"instance": "node-a:9100"}, time.time(), "0"), ({"instance": "node-b:9100"}, time.time(), "-99")
            )
        if broken and broken in query:
            return as_json({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400)
        some = NODES[:1] if lacks and lacks in query else NODES
        at = grid(parameters)
        return matrix(*(series({"instance": f"{node}:9100"}, [(t, "1") for t in at]) for node in some))

    return answer


def test_prometheus_signals_and_clocks_are_told_apart(ward: Ward):
    with stub_prometheus(prometheus(lacks="node_hwmon", broken="libvirt_up")) as stub:
        ward.settings["prometheus"] = {"url": stub.url}
        _, findings = ward.findings()
    rows = {(each["check"], each["subject"]): each for each in findings if each["health"] != "ok"}
    assert "99.0 s behind this machine's" in rows["clock", "node-b"]["what"]
    assert ("clock", "node-a") not in rows
    assert rows["signals", "thermal"]["what"].startswith("node-b without cpu_core_temperature")
    assert rows["signals", "libvirt_up"]["health"] == "fail"
    assert sum(each["check"] == "signals" for each in findings) < 12, "a line a component, not one a signal"


def test_a_prometheus_that_is_gone_fails_once(ward: Ward):
    with stub_prometheus(prometheus()) as stub:
        ward.settings["prometheus"] = {"url": stub.url}
    code, findings = ward.findings()
    assert code == 1
    told = {(each["check"], each["health"]) for each in findings if each["check"] in ("telemetry", "signals", "clock")}
    assert told == {("telemetry", "fail"), ("signals", "unknown"), ("clock", "unknown")}
