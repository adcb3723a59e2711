"""`lifeboat` as from a shell, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli.app import app
from models.errors import LifeboatError


def lifeboat(*arguments: str) -> tuple[int, str]:
    """Exit code, and what it said: standard output, or the error's line. Raises what nobody foresaw."""
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, LifeboatError):
        return result.exception.exit_code, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def work_in(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *, settings: str | None = None, columns: int = 160
) -> None:
    """The shell is in this folder, with these settings in it and no others, in a terminal that wide."""
    monkeypatch.chdir(directory)
    monkeypatch.delenv("LIFEBOAT_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    if settings is not None:
        (directory / "lifeboat.yaml").write_text(settings)


def offered(line: str) -> list[str]:
    """What the TAB key offers at the end of a line, as bash asks for it."""
    asked = {"_LIFEBOAT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    return CliRunner().invoke(app, [], prog_name="lifeboat", env=asked).stdout.split()
