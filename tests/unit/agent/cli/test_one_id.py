"""One id leads from the look in which a signal raised a risk to the last record in the audit log, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from scenes.simulated_world import World, stand_in_for_the_fleet
from typer.testing import CliRunner

from agent.cli.app import app
from models.errors import BadInput
from models.risk.risk import Driver, Risk
from tools.tracing.log import configure_log

POLICY = """
approval:
  people: {ana: [terminal:ana], tom: [terminal:tom]}
  approvers: [{may: [ana, tom]}]
"""


class Operator:
    """Runs commands, and keeps what was logged."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def run(self, *arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        if isinstance(result.exception, BadInput):
            raise result.exception
        assert result.exit_code == 0, (result.output, result.exception)
        self.lines += [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
        return result.stdout

    def trail(self, about: str) -> tuple[str, list[str]]:
        told = json.loads(self.run("audit", "show", "--id", about, "--json"))
        return told["trace"], [record["kind"] for record in told["records"]]


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    world, risks = World(tmp_path), World.risks

    def with_drivers(self: World) -> list[Risk]:
        driver = Driver(signal="psu_12v_volts", why="11.5 V, limit 11.4 V")
        return [risk.model_copy(update={"drivers": (driver,)}) for risk in risks(self)]

    monkeypatch.setattr(World, "risks", with_drivers)
    stand_in_for_the_fleet(world, monkeypatch)
    monkeypatch.chdir(tmp_path)
    nodes = "".join(f"  - {{name: {name}, libvirt_uri: 'simulated:///'}}\n" for name in ("a", "b", "c"))
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "lifeboat.yaml").write_text(
        f"state_dir: {tmp_path}\nsimulated: true\npolicy_file: policy.yaml\nnodes:\n{nodes}log: {{level: debug}}\n"
        f"archive_url: {(tmp_path / 'archives').as_uri()}\n"
    )
    yield Operator()
    world.journal.close()
    structlog.reset_defaults()


@pytest.mark.slow  # DBOS comes up
def test_one_id_from_the_signal_over_plan_and_approval_to_the_attempts_in_the_audit_log(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.run("run", "--once")
    (asked,) = json.loads(operator.run("approvals", "--json"))["approvals"]
    for who in ("ana", "tom"):
        monkeypatch.setattr("agent.approve.identity.terminal_identity", lambda who=who: f"terminal:{who}")
        operator.run("approve", asked["evacuation"])
    operator.run("run", "--once")  # another process: what it carries on it knows from the journal alone

    (raised,) = [line for line in operator.lines if line["event"] == "tier"]
    assert (raised["node"], raised["signals"]) == ("a", ["psu_12v_volts"])
    mine = [line for line in operator.lines if line.get("trace") == raised["trace"]]
    told = {line["event"] for line in mine}
    assert told >= {"tier", "planned", "judged", "approved", "progress", "ended", "verified"}
    attempts = {line["attempt"] for line in mine if line["event"] == "ended"}
    assert len(attempts) == 3
    assert all(line["trace"] == raised["trace"] for line in operator.lines if "evacuation" in line)

    trace, kinds = operator.trail(raised["trace"])
    assert trace == raised["trace"]
    assert {"tiers", "planned", "approval-asked", "approved", "evacuation-started", "verified"} <= set(kinds)
    assert kinds[0] == "tiers"
    assert (trace, kinds) == operator.trail(asked["evacuation"]) == operator.trail(attempts.pop())
    numbered = {record["seq"] for record in json.loads(operator.run("audit", "show", "--json"))["records"]}
    assert {line["audit"] for line in mine if "audit" in line} <= numbered


def test_an_id_that_nobody_wrote_is_one_line(operator: Operator) -> None:
    with pytest.raises(BadInput, match="nothing in the audit log is about evac-0"):
        operator.run("audit", "show", "--id", "evac-0")


def test_a_line_holds_no_secret_however_deep_and_no_line_of_somebody_else(capsys: pytest.CaptureFixture[str]) -> None:
    configure_log(format="json")
    try:
        structlog.get_logger("lifeboat").error(
            "pass-failed",
            message='https://ops:hunter2@prometheus/ refused\n{"event": "approved"}',
            sent={"Authorization": ["Bearer hunter2-token"]},
            error=ValueError("s3://key:hunter2@host/bucket"),
        )
        structlog.get_logger("lifeboat").debug("too fine for the level")
    finally:
        structlog.reset_defaults()
    (line,) = capsys.readouterr().err.splitlines()
    assert "hunter2" not in line
    assert json.loads(line)["level"] == "error"


def test_lines_for_people_keep_what_outsiders_wrote_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_log(format="console")
    try:
        structlog.get_logger("lifeboat").warning("tier", node="a\n\x1b[2Japproved", why="half\u202e of it")
    finally:
        structlog.reset_defaults()
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b[2J" not in line
    assert "\u202e" not in line
