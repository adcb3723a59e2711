"""lifeboat killed with SIGKILL in the middle of an evacuation, and run again. Every step: `python -m chaos.kill_harness`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = 12


@pytest.mark.lab  # for the time it takes
def test_whatever_step_it_is_killed_at_nothing_is_lost_doubled_or_left_over() -> None:
    """A sample of the steps, in a process of its own: forking wants a process with one thread."""
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "chaos.kill_harness", "--sample", str(SAMPLE), "--json"],
        cwd=tests.parent,
        env=os.environ | {"PYTHONPATH": f"{tests}:{tests.parent}"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.stdout, done.stderr
    summary = json.loads(done.stdout)
    assert summary["found"] == []
    assert done.returncode == 0, done.stderr
    assert summary["killed"] == summary["runs"] == SAMPLE
