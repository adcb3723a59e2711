"""`lifeboat apply` from a plan file to its exit code, on SIMULATED nodes and virtual time."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from scenes.simulated_world import World, stand_in_for_the_fleet
from typer.testing import CliRunner

from agent.actions.progress import CopyState, Progress
from agent.cli.app import app
from agent.cli.terminal.progress import ProgressLines
from models.errors import ApprovalMissing, BadInput, PlanRefused
from models.evacuation import Attempt, AttemptOutcome
from models.plan import Action, ActionKind
from tools.ports.approval import ApprovalAnswer
from tools.ports.records.evacuations import EvacuationApproved, EvacuationStarted


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The settings' nodes are this world's, and a look finds that `a` is failing."""
    world = World(tmp_path)
    stand_in_for_the_fleet(world, monkeypatch)
    nodes = "".join(f"  - {{name: {name}, libvirt_uri: 'simulated:///'}}\n" for name in ("a", "b", "c"))
    (tmp_path / "lifeboat.yaml").write_text(f"state_dir: {tmp_path}\nsimulated: true\nnodes:\n{nodes}")
    yield world
    world.journal.close()


def apply(world: World, plan: object, *options: str):
    file = world.directory / "plan.json"
    file.write_text(json.dumps(plan))
    return CliRunner().invoke(app, ["apply", str(file), "--config", str(world.directory / "lifeboat.yaml"), *options])


NOW = datetime(2026, 1, 1, tzinfo=UTC)
BY_HAND = {"actions": [{"kind": "live_migrate", "vm": "web", "target": "b"}]}


def test_a_plan_made_by_hand_with_nothing_but_what_has_to_be_there_is_carried_out(world: World) -> None:
    result = apply(world, BY_HAND, "--approve-as", "ana", "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    assert world.fleet.running_on(world.web) == ["b"]
    json.loads(result.stdout)
    assert "web  live → b  copying" in result.stderr
    assert ": done: " in result.stderr
    (approved,) = world.journal.of(EvacuationApproved)
    (started,) = world.journal.of(EvacuationStarted)
    assert approved.record.by == "ana"
    assert len(started.record.plan.fleet_sha256) == 64, "bound to the fleet that ana agreed about"


def test_the_policy_alone_never_agrees_to_it(world: World) -> None:
    (world.directory / "policy.yaml").write_text("approval: {live_migrate: auto}\n")
    result = apply(world, BY_HAND, "--policy", str(world.directory / "policy.yaml"))
    assert isinstance(result.exception, ApprovalMissing)
    assert world.fleet.running_on(world.web) == ["a"]


def test_a_fleet_that_changes_while_the_person_thinks_voids_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def ask(self, question: str) -> ApprovalAnswer:
            world.fleet.node("a").power_off(world.batch)
            return ApprovalAnswer(approved=True, by="ana")

    monkeypatch.setattr("agent.approve.approvers.TerminalApprover", Slow)
    result = apply(world, BY_HAND)
    assert isinstance(result.exception, ApprovalMissing)
    assert "fleet has changed" in str(result.exception)
    assert world.fleet.running_on(world.web) == ["a"]


def test_what_it_names_has_to_exist_and_the_file_to_be_a_plan(world: World) -> None:
    refused = apply(
        world, {"actions": [{"kind": "live_migrate", "vm": "nobody", "target": "b"}]}, "--approve-as", "ana"
    )
    assert isinstance(refused.exception, PlanRefused)
    assert "nobody" in str(refused.exception)
    broken = apply(world, {"actions": [{"kind": "live_migrate", "vm": "web"}]}, "--approve-as", "ana")
    assert isinstance(broken.exception, BadInput)
    assert "names no target" in str(broken.exception)


MOVE = Action(kind=ActionKind.LIVE_MIGRATE, vm="1", vm_name="web\x1b[31m", source="a", target="b")
COPY = CopyState(120_000_000, 1.1e8, 3e6, 2, 4.0, "slowing the guest")


def lines(*, terminal: bool) -> tuple[ProgressLines, io.StringIO]:
    out = io.StringIO()
    return ProgressLines(Console(file=out, force_terminal=terminal, width=160, highlight=False)), out


def test_without_a_terminal_a_phase_is_one_line_and_the_figures_do_not_flood() -> None:
    shown, out = lines(terminal=False)
    with shown:
        for percent in range(100):
            shown.show_progress(
                Progress(
                    attempt="e-000", action=MOVE, phase="copying", fraction=percent / 100, detail=str(COPY), copy=COPY
                )
            )
    assert out.getvalue().splitlines() == [
        "web\\x1b[31m  live → b  copying  0%  "
        "120 MB left at 110 MB/s, rewrites 3 MB/s, round 2, 4 s to go; slowing the guest"
    ]


def test_on_a_terminal_the_line_is_gone_when_the_move_is_over_and_how_it_ended_stays() -> None:
    shown, out = lines(terminal=True)
    with shown:
        shown.show_progress(
            Progress(attempt="e-000", action=MOVE, phase="copying", fraction=0.5, detail=str(COPY), copy=COPY)
        )
        shown.show_result(
            Attempt(id="e-000", action=MOVE, started_at=NOW, ended_at=NOW, outcome=AttemptOutcome.DONE, message="on b")
        )
    assert "━━━━━━" in out.getvalue()
    assert "50%" in out.getvalue()
    assert "e-000: done: on b" in out.getvalue()
    assert "\x1b[2K" in out.getvalue().rpartition("━")[2], "the line is gone"
    assert "\x1b[?25h" in out.getvalue().rpartition("\x1b[?25l")[2], "the cursor is shown again"


WITH_APPROVERS = "approval: {people: {tom: [terminal:tom], eve: [terminal:eve]}, approvers: [{may: [tom, eve]}]}\n"


def test_where_policy_names_approvers_who_wants_a_plan_does_not_agree_to_it(world: World) -> None:
    (world.directory / "policy.yaml").write_text(WITH_APPROVERS)
    result = apply(world, BY_HAND, "--approve-as", "tom", "--policy", str(world.directory / "policy.yaml"))
    assert isinstance(result.exception, ApprovalMissing)
    assert "--propose" in str(result.exception)
    assert world.fleet.running_on(world.web) == ["a"]


def test_a_proposed_plan_waits_for_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.approve.identity.terminal_identity", lambda: "terminal:tom")
    (world.directory / "policy.yaml").write_text(WITH_APPROVERS)
    result = apply(world, BY_HAND, "--propose", "--json", "--policy", str(world.directory / "policy.yaml"))
    assert result.exit_code == 0, (result.output, result.exception)
    asked = json.loads(result.stdout)
    assert (asked["state"], asked["nodes"], asked["requested_by"]) == ("pending", {"a": "asked"}, "terminal:tom")
    assert asked["may_answer"] == ["eve"]
    assert world.fleet.running_on(world.web) == ["a"]
