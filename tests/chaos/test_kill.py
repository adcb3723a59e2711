"""lifeboat killed with SIGKILL in the middle of an evacuation, and run again. Every step: `python -m chaos.kill_harness`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SAMPLE = 12


@pytest.mark.slow
def test_whatever_step_it_is_killed_at_nothing_is_lost_doubled_or_left_over() -> None:
    """A sample of the steps, in a process of its own: forking wants a process with one thread."""
    summary = run_harness("chaos.kill_harness", SAMPLE)
    assert summary["found"] == []
    assert summary["killed"] == summary["runs"] == SAMPLE


@pytest.mark.slow
def test_whatever_step_a_restore_or_wipe_is_killed_at_the_same_command_again_ends_it() -> None:
    """As above; every step: `python -m chaos.kill_archives`."""
    summary = run_harness("chaos.kill_archives", SAMPLE // 2)
    assert summary["found"] == []
    assert summary["killed"] == summary["runs"] == SAMPLE


@pytest.mark.slow
def test_whatever_step_of_an_approval_it_is_killed_at_the_plan_runs_once_and_only_as_two_agreed() -> None:
    """As above; every step: `python -m chaos.kill_approvals`."""
    summary = run_harness("chaos.kill_approvals", 3)
    assert summary["found"] == []
    assert summary["killed"] == summary["runs"] == 3


def run_harness(module: str, sample: int) -> dict[str, Any]:
    """What it found, as it says itself."""
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", module, "--sample", str(sample), "--json"],
        cwd=tests.parent,
        env=os.environ | {"PYTHONPATH": f"{tests}:{tests.parent}"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)
