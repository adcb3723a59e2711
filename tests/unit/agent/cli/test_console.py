"""What reaches the terminal: words from outside show, and none of them is obeyed."""

from __future__ import annotations

import json
import sys

import pytest
from rich.table import Table

from agent.cli import main as command_line
from agent.cli.console import console, fail, note, write_json
from models.errors import BadInput

EVIL = "db\x1b]0;owned\x07\x1b[2J\u202e\x9b31m"


def _harmless(text: str) -> bool:
    return not any(c in text for c in "\x1b\x07\u202e\x9b")


def test_a_note_shows_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    note(f"vm {EVIL} moved\nand was seen")
    error = capsys.readouterr().err
    assert _harmless(error)
    assert "\\x1b" in error
    assert error.count("\n") == 2, "line breaks of ours stay"


def test_a_table_shows_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("vm")
    table.add_row(EVIL)
    console().print(table)
    console().print(f"[bold]{EVIL}[/bold]")
    assert _harmless(capsys.readouterr().out)


def test_json_escapes_what_a_terminal_might_obey(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"name": EVIL, "owner": "Jürgen"})
    out = capsys.readouterr().out
    assert _harmless(out)
    assert "Jürgen" in out
    assert json.loads(out)["name"] == EVIL


def test_an_error_does_not_tell_how_to_log_in(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fail(BadInput("can't use s3://AKIA:geheim@host/b?X-Amz-Signature=abc123&region=eu"))
    error = capsys.readouterr().err
    assert "geheim" not in error
    assert "abc123" not in error
    assert "@host/b" in error
    assert "region=eu" in error


def test_what_nobody_foresaw_is_one_line_and_a_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    def breaks() -> None:
        raise RecursionError("deep\nin postgresql://u:pw@db/x")

    monkeypatch.setattr("agent.cli.app.app", breaks)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["lifeboat", "plan"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "unexpected RecursionError" in line
    path = line.split("the report is ")[1].split(";")[0]
    with open(path, encoding="utf-8") as report:
        story = report.read()
    assert "Traceback" in story
    assert "pw@" not in story + line
