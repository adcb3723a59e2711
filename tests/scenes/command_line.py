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
