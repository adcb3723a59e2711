"""The demo's story on simulated nodes, in virtual time."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from lab.demo.scene import run_demo, show_result
from lab.demo.screen import Screen
from lab.demo.simulated_stage import simulated_stage
from models.policy.policy import TriggerPolicy
from tools.clock import VirtualClock


@pytest.mark.slow
def test_every_vm_is_saved_and_everything_is_marked_as_simulated(tmp_path: Path) -> None:
    written = io.StringIO()
    console = Console(file=written, width=200)
    page = tmp_path / "demo.html"
    with Screen(console, "demo", TriggerPolicy()) as screen:
        stage = simulated_stage(screen.say, VirtualClock())
        result = run_demo(stage, screen, report_file=page, started=time.monotonic())
    show_result(result, console)
    assert result.passed, [check for check in result.checks if not check.passed]
    assert result.outcome == "done"
    assert result.simulated
    assert {move.vm for move in result.moves} == {"infer-1", "infer-2", "infer-3"}
    assert len(result.archives) == 2
    assert result.probability_at_trigger >= 0.9
    assert "SIMULATED" in written.getvalue()
    assert "simulated" in page.read_text(encoding="utf-8").lower()


@pytest.mark.slow
def test_with_approve_nothing_moves_before_somebody_pressed(tmp_path: Path) -> None:
    written = io.StringIO()
    with Screen(Console(file=written, width=200), "demo", TriggerPolicy()) as screen:
        stage = simulated_stage(screen.say, VirtualClock())
        result = run_demo(
            stage, screen, report_file=tmp_path / "demo.html", started=time.monotonic(), ask_patience=0.0
        )  # fmt: skip
    assert result.passed, [check for check in result.checks if not check.passed]
    story = written.getvalue()
    assert story.index("lifeboat asks first. Open http://127.0.0.1:") < story.index(
        "the demo's own approver pressed it"
    )
    assert story.index("pressed it") < story.index("infer-1: on ")
