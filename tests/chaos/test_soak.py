"""Some hours of a small fleet at high speed, in which everything goes wrong: no invariant breaks, and nothing is left over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_short_soak_breaks_no_invariant(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    options = {
        "nodes": 25,
        "guests": 2,
        "signals": 8,
        "hours": 1.0,
        "speed": 200,
        "interval": "90s",
        "busy": 4,
        "seed": 11,
    }
    command = [sys.executable, "-m", "chaos.soak", "--json", str(found)]
    command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}

    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False
    )

    day = json.loads(found.read_text()) if found.exists() else pytest.fail(ran.stderr[-3000:])
    assert day["broken"] == []
    assert set(day["ends"]) == {"exit 0"}
    assert sum(day["attempts"].values()) > 0  # it had something to do
    assert day["left"] == [
        [] for _ in day["left"]
    ]  # threads, each time it had ended; memory says nothing in so short a time
