"""All commands together: what other packages bring along, and what a start must not load."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import typer
from typer.testing import CliRunner

from agent.cli.app import ENTRY_POINTS, add_installed, app


def test_the_lab_is_a_command_like_the_others() -> None:
    assert CliRunner().invoke(app, ["lab", "status", "--help"]).exit_code == 0
    assert CliRunner().invoke(app, ["lab", "no-such-command"]).exit_code == 2


@pytest.mark.parametrize("value", ["no.such.package:app", "lab.nodes.guests:MIB"])
def test_a_broken_package_leaves_the_other_commands(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = typer.Typer()
    add_installed(
        commands, [EntryPoint("broken", value, ENTRY_POINTS), EntryPoint("bench", "lab.cli:app", ENTRY_POINTS)]
    )
    assert "the command 'broken'" in capsys.readouterr().err
    assert CliRunner().invoke(commands, ["bench", "status", "--help"]).exit_code == 0
    assert CliRunner().invoke(commands, ["broken"]).exit_code == 2


def test_help_loads_nothing_heavy() -> None:
    program = "import sys; from agent.cli.app import app; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"numpy", "polars", "pydantic", "rich", "sklearn", "dbos", "langchain", "ortools", "libvirt", "matplotlib"}
    assert heavy.isdisjoint(run.stdout.split())
