"""The man pages, made from the commands themselves: `python -m agent.cli.man_pages DIRECTORY` writes `lifeboat.1` and a page
for each command."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.errors import BadInput, Indeterminate, LifeboatError, Refused

NAME = "lifeboat"
_EXIT = {
    0: "Done.",
    LifeboatError.exit_code: "Failed.",
    BadInput.exit_code: "Bad input: a file, option or label is wrong. Nothing was changed.",
    Refused.exit_code: "Refused by policy or a precheck. Nothing was changed.",
    Indeterminate.exit_code: "Needs a human: it can't be told where a vm runs.",
}
_FILES = {
    "lifeboat.yaml, /etc/lifeboat/lifeboat.yaml": "Settings; the first that is there.",
    "/etc/lifeboat/policy.yaml": "What lifeboat may do, where the settings name it (policy_file).",
    "/var/lib/lifeboat": "Journal, audit log, keys and reports (state_dir).",
}
_VARIABLES = {
    "LIFEBOAT_CONFIG": "The settings file, in place of those above.",
    "LIFEBOAT_…": "Fields that the settings file leaves out, with __ between levels: LIFEBOAT_PROMETHEUS__URL.",
}


def pages() -> dict[str, str]:
    """File name → roff (man(7)), for lifeboat and each of its commands."""
    from typer.main import get_command

    from agent.cli.app import app

    root: Any = get_command(app)
    commands: dict[str, Any] = {name: each for name, each in root.commands.items() if not each.hidden}
    told = {f"{NAME}.1": _overview(root, commands)}
    for name, command in commands.items():
        told[f"{NAME}-{name}.1"] = _page(name, command)
    return told


def _overview(root: Any, commands: dict[str, Any]) -> str:
    lines = [*_head(NAME, root.help), ".SH SYNOPSIS", f".B {NAME}", r".I COMMAND", r"[\fIOPTION\fR]...", ".SH COMMANDS"]
    for name, command in commands.items():
        lines += [".TP", rf"\fB{NAME}\-{_text(name)}\fR(1)", _text(_first_sentence(command.help))]
    lines += _table("EXIT STATUS", {str(code): what for code, what in _EXIT.items()})
    lines += _table("ENVIRONMENT", _VARIABLES) + _table("FILES", _FILES)
    return "\n".join(lines) + "\n"


def _page(name: str, command: Any) -> str:
    lines = _head(f"{NAME}-{name}", command.help)
    inner: dict[str, Any] = {sub: each for sub, each in getattr(command, "commands", {}).items() if not each.hidden}
    if not inner:
        lines += [".SH SYNOPSIS", *_synopsis(f"{NAME} {name}", command), ".SH DESCRIPTION", *_prose(command.help)]
        lines += _parameters(command, ".SH OPTIONS")
    else:
        lines += [".SH SYNOPSIS"]
        for index, (sub, each) in enumerate(inner.items()):
            lines += [".br"] * (index > 0) + _synopsis(f"{NAME} {name} {sub}", each)
        lines += [".SH DESCRIPTION", *_prose(command.help), *_parameters(command, ".SH OPTIONS"), ".SH COMMANDS"]
        for sub, each in inner.items():
            lines += [f'.SS "{NAME} {name} {_text(sub)}"', *_prose(each.help), *_parameters(each, "")]
    lines += [".SH SEE ALSO", rf".BR {NAME} (1)"]
    return "\n".join(lines) + "\n"


def _head(title: str, help_text: str | None) -> list[str]:
    return [
        f'.TH "{title.upper()}" "1" "" "{NAME} {version(NAME)}" "User Commands"',
        ".SH NAME",
        rf"{_text(title)} \- {_text(_first_sentence(help_text).rstrip('.'))}",
    ]


def _synopsis(invocation: str, command: Any) -> list[str]:
    pieces = command.collect_usage_pieces(_context(command, invocation))
    return [rf"\fB{_text(invocation)}\fR {' '.join(_text(piece) for piece in pieces)}"]


def _parameters(command: Any, heading: str) -> list[str]:
    context = _context(command, command.name)
    rows = [row for each in command.params if (row := each.get_help_record(context)) is not None]
    if not rows:
        return []
    lines = [heading] if heading else []
    for names, meaning in rows:
        lines += [".TP", rf"\fB{_text(names)}\fR", *(_prose(meaning) or [r"\&"])]
    return lines


def _context(command: Any, invocation: str) -> Any:
    return command.context_class(command, info_name=invocation, max_content_width=200)


def _table(title: str, rows: dict[str, str]) -> list[str]:
    lines = [f'.SH "{title}"']
    for term, meaning in rows.items():
        lines += [".TP", rf"\fB{_text(term)}\fR", _text(meaning)]
    return lines


def _prose(text: str | None) -> list[str]:
    """Paragraphs; what stands between backticks is bold."""
    lines: list[str] = []
    for paragraph in _paragraphs(text):
        lines += [".PP"] * bool(lines) + [_text(paragraph)]
    return lines


def _paragraphs(text: str | None) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", (text or "").replace("\b", "")):
        if words := " ".join(block.split()):
            yield words


def _first_sentence(text: str | None) -> str:
    """Up to the first full stop or colon: what a line of a list has room for."""
    return re.split(r"(?<=\.)\s|:\s", next(_paragraphs(text), ""))[0]


def _text(words: str) -> str:
    """One line as roff: nothing in it is a request or an escape of its own."""
    line = words.replace("\\", r"\e").replace("-", r"\-")
    line = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", line)
    return rf"\&{line}" if line.startswith((".", "'")) else line


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for file, page in pages().items():
        (directory / file).write_text(page, encoding="utf-8")
