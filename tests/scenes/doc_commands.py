"""The commands that README.md, CONTRIBUTING.md and docs/ show, as a reader would copy them.

A block is fenced as `sh`, or as `console` (its commands begin with `$ `, the rest is output). Behind the language may stand
`on=lab` (needs the lab) or `not-run="why"`; everything else is run on a SIMULATED fleet.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from agent.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    sorted(
        {ROOT / "README.md", ROOT / "CONTRIBUTING.md"}
        | {page for page in (ROOT / "docs").rglob("*.md") if "decisions" not in page.parts}
    )
)
_FENCE = re.compile(r"^```(?P<language>sh|console)(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(lifeboat [^`\n]+)`")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    lines: tuple[str, ...]
    """its commands, continued lines joined"""
    on_lab: bool
    not_run: str | None
    """why, where it is only read"""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One `lifeboat …`, as a shell takes it apart."""

    words: tuple[str, ...]
    """without `lifeboat` itself"""
    block: Block


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One command of a `console` block, with the lines that the page shows beneath it."""

    command: str
    output: tuple[str, ...]


def blocks() -> list[Block]:
    """Every `sh` and `console` block, page by page."""
    return [block for page in PAGES for block in _blocks(page)]


def shown_on(page: str) -> list[Shown]:
    """The commands of a page's `console` blocks, from top to bottom, with what is shown of their output."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found: list[Shown] = []
    for fence in _FENCE.finditer(text):
        if fence["language"] == "console":
            for part in re.split(r"^\$ ", fence["body"], flags=re.MULTILINE)[1:]:
                command, *output = part.splitlines()
                found.append(Shown(command=command, output=tuple(output)))
    return found


def commands(block: Block) -> list[Command]:
    """The lifeboat commands in it; what other programs do is not looked at."""
    found: list[Command] = []
    for line in block.lines:
        for words in simple_commands(line):
            while words and (words[0] == "sudo" or re.match(r"[A-Z_]+=", words[0])):
                words = words[1:]
            if words and words[0] == "lifeboat":
                found.append(Command(words=tuple(words[1:]), block=block))
    return found


def simple_commands(line: str) -> list[list[str]]:
    """A line at its `&&`, `||`, `;` and `|`, comments left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split, lexer.commenters = True, "#"
    parts: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("&|;"):
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def inline_commands() -> list[tuple[str, list[str]]]:
    """`lifeboat …` within sentences, with the page. Words there may be placeholders, options may stand in brackets."""
    return [
        (str(page.relative_to(ROOT)), [word for word in re.split(r"[\s\[\]|]+", text) if word][1:])
        for page in PAGES
        for text in _INLINE.findall(re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S))
    ]


@cache
def whole_command() -> Any:
    """`lifeboat`, as click has it. Putting it together takes a while."""
    return get_command(app)


def unknown_in(words: list[str]) -> str | None:
    """The command or option of a loosely written command that the command line does not have."""
    command = whole_command()
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    alone = getattr(command, "invoke_without_command", False) or not words or words[0].startswith("--")
    if hasattr(command, "commands") and not alone:
        return words[0]
    options = {"--help", "--install-completion", "--show-completion"} | {
        option for each in command.params for option in each.opts
    }
    return next((word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in options), None)


def why_refused(words: tuple[str, ...]) -> str | None:
    """What the command line itself says to these words, without running anything; None when it takes them."""
    try:
        context = whole_command().make_context("lifeboat", list(words))
        while hasattr(context.command, "resolve_command") and context._protected_args:
            rest = [*context._protected_args, *context.args]
            name, command, rest = context.command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)
    except typer.Exit:  # --help
        return None
    except Exception as error:  # every usage error that there is
        return getattr(error, "format_message", error.__repr__)()
    return None


def _blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    for fence in _FENCE.finditer(text):
        lines = fence["body"].replace("\\\n", " ").splitlines()
        if fence["language"] == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        info = fence["info"].strip()
        why = re.search(r'not-run="([^"]+)"', info)
        rest = re.sub(r'not-run="[^"]+"', "", info).split()
        assert set(rest) <= {"on=lab"}, f'{page}: ```sh {info}: only on=lab and not-run="why" are known'
        found.append(
            Block(
                page=str(page.relative_to(ROOT)),
                line=text.count("\n", 0, fence.start()) + 1,
                lines=tuple(line for line in lines if line.split("#")[0].strip()),
                on_lab="on=lab" in rest,
                not_run=why[1] if why else None,
            )
        )
    return found
