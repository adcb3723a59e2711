"""The demo, as a newcomer runs it, on the real lab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lab.cli import app

pytestmark = pytest.mark.timeout(600)


def play(directory: Path, *options: str) -> dict[str, object]:
    figures, page = directory / "demo.json", directory / "demo.html"
    done = CliRunner().invoke(app, ["demo", "--json", str(figures), "--report", str(page), *options])
    assert figures.exists(), done.output
    result = json.loads(figures.read_text(encoding="utf-8"))
    failed = [check for check in result["checks"] if not check["passed"]]
    assert done.exit_code == 0, f"{failed}\n{done.output}"
    assert result["outcome"] == "done"
    assert "node-a" in page.read_text(encoding="utf-8")
    return result


@pytest.mark.lab
def test_every_vm_is_saved_from_a_node_whose_power_supply_flutters(can_have_lab: None, tmp_path: Path) -> None:
    result = play(tmp_path, "--name", "demotest")
    assert result["simulated"] is False
    assert result["alarms_before_trigger"] == 0
    assert not Path("/var/lib/lifeboat-lab/demotest").exists(), "the demo cleans up"
