"""How every command writes: tables on stdout for people, JSON on stdout for machines, notes and errors on stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from models.errors import LifeboatError

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """A console on stdout. Made on demand: importing rich is a tenth of the time `--help` may take."""
    from rich.console import Console

    return Console(highlight=False)


def note(line: str) -> None:
    """One line for a person, on stderr, so that stdout stays clean for `--json`."""
    print(line, file=sys.stderr)  # noqa: T201


def write_json(value: Any) -> None:
    """JSON on stdout: a pydantic value or plain data."""
    dump = getattr(value, "model_dump", None)
    print(json.dumps(dump(mode="json") if dump else value, indent=2, ensure_ascii=False, default=str))  # noqa: T201


def fail(error: LifeboatError) -> NoReturn:
    """End the command with the error's exit code and its one line on stderr."""
    note(f"lifeboat: {' '.join(str(error).split())} [{error.code}]")
    raise SystemExit(error.exit_code)
