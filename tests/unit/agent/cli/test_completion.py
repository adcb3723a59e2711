"""What the TAB key offers, as bash asks for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from scenes.command_line import offered
from typer.testing import CliRunner

from agent.cli.app import app

SETTINGS = "nodes:\n- {name: node-a, libvirt_uri: qemu:///system}\n- {name: node-b, libvirt_uri: qemu:///system}\n"


def test_commands_and_options() -> None:
    assert offered("lifeboat appro") == ["approvals", "approve"]
    assert "--fleet" in offered("lifeboat plan --")
    assert offered("lifeboat schema ") == ["fleet", "risks", "plan", "policy", "knowledge"]
    assert offered("lifeboat run --planner ") == ["solver", "llm"]
    assert offered("lifeboat explain inde") == ["indeterminate"]
    assert offered("lifeboat guard --explain limit-f") == ["limit-fleet"]


def test_nodes_of_the_settings_that_are_not_named_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lifeboat.yaml").write_text(SETTINGS)
    assert offered("lifeboat plan node-a ") == ["node-b"]
    assert offered("lifeboat return ") == ["node-a", "node-b"]
    Path("other.yaml").write_text("nodes: [{name: other, libvirt_uri: x}]\n")
    assert offered("lifeboat plan --config other.yaml ") == ["other"]


def test_a_file_that_is_broken_or_no_settings_offers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for content, line in {
        "nodes: [": "lifeboat plan ",
        "nodes: 3": "lifeboat plan ",
        "- a": "lifeboat cancel ",
    }.items():
        Path("lifeboat.yaml").write_text(content)
        assert offered(line) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_takes_the_script() -> None:
    script = CliRunner().invoke(app, [], prog_name="lifeboat", env={"_LIFEBOAT_COMPLETE": "source_bash"}).stdout
    assert "complete" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
