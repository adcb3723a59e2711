"""How every command writes: tables on stdout for people, JSON on stdout for machines, notes and errors on stderr."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from models.errors import BadInput, LifeboatError
from models.explanations import EXPLANATIONS
from models.text import visible_lines, without_credentials

if TYPE_CHECKING:
    from rich.console import Console

_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""what JSON lets pass as it is, and a terminal might obey or hide"""


def console(*, to_stderr: bool = False) -> Console:
    """A console that shows control characters of names and messages instead of obeying them.

    Made on demand: importing rich is a tenth of the time `--help` may take.
    """
    from agent.cli.terminal.visible_console import VisibleConsole

    return VisibleConsole(highlight=False, stderr=to_stderr)


def note(line: str) -> None:
    """One line for a person, on stderr, so that stdout stays clean for `--json`."""
    print(visible_lines(without_credentials(line)), file=sys.stderr)  # noqa: T201


def write_json(value: Any) -> None:
    """JSON on stdout: a pydantic value or plain data. Characters that do not show are escaped."""
    dump = getattr(value, "model_dump", None)
    text = json.dumps(dump(mode="json") if dump else value, indent=2, ensure_ascii=False, default=str)
    print(_UNSEEN.sub(lambda unseen: f"\\u{ord(unseen[0]):04x}", text))  # noqa: T201


def fail(error: LifeboatError) -> NoReturn:
    """End the command with the error's exit code and its one line on stderr.

    The line ends with the command that says more; not where a file or option is wrong, for there it has said it all.
    """
    more = f"; see `lifeboat explain {error.code}`" if not _says_it_all(error) else ""
    note(f"lifeboat: {' '.join(str(error).split())} [{error.code}]{more}")
    raise SystemExit(error.exit_code)


def _says_it_all(error: LifeboatError) -> bool:
    return error.exit_code == BadInput.exit_code and not EXPLANATIONS[error.code].calls_a_human
