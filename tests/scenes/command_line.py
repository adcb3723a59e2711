"""`lifeboat` as from a shell, in this process."""

from __future__ import annotations

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


def offered(line: str) -> list[str]:
    """What the TAB key offers at the end of a line, as bash asks for it."""
    asked = {"_LIFEBOAT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    return CliRunner().invoke(app, [], prog_name="lifeboat", env=asked).stdout.split()
