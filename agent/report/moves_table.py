"""The moves on a terminal: a table where it is wide enough, else two lines a move, so that no column breaks a word."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from agent.report.report import Fate, Report, ReportKind, VmRow
from models.plan import ActionKind
from models.text import seconds_in_words, visible, when_in_words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

FATE_STYLES = {
    Fate.MOVED: "green",
    Fate.ARCHIVED: "green",
    Fate.PLANNED: "cyan",
    Fate.MOVING: "cyan",
    Fate.UNTOUCHED: "yellow",
    Fate.GONE_BEFORE: "yellow",
    Fate.LOST: "bold red",
    Fate.INDETERMINATE: "bold red",
}
_HOW = {
    ActionKind.LIVE_MIGRATE: "live",
    ActionKind.COLD_MIGRATE: "cold",
    ActionKind.COLD_ARCHIVE: "archive",
    ActionKind.STAY: "stays",
}
_GAP = 3
"""columns between columns"""
_LEAST_WHY = 44
"""columns of the reason below which it gets a line of its own"""
_LONGEST_NAME = 40
_INDENT = 4


def print_moves(report: Report, moves: Sequence[VmRow], console: Console) -> None:
    """Every move: who, how and where to, how long, how long silent, and why."""
    dry = report.kind is ReportKind.DRY_RUN
    several = len({vm.node_before for vm in moves}) > 1
    waits = dry and any(vm.not_before for vm in moves)
    extra = ("when",) if waits else () if dry else ("outcome",)
    heads = ["vm", "prio", "how", *extra, ">takes" if dry else ">took", ">silent"]
    rows = [_cells(vm, dry=dry, several=several, now=report.generated_at if waits else None) for vm in moves]
    styles = ["bold", "", "", *("" for _ in extra), "", ""]
    widths = [max(len(head.lstrip(">")), *(_width(row[n]) for row in rows)) for n, head in enumerate(heads)]
    fixed = sum(widths) + _GAP * len(widths)
    whys = [vm.reason if dry or not vm.message else vm.message for vm in moves]
    if fixed + _LEAST_WHY <= console.width:
        console.print(_wide(heads, rows, styles, whys, moves))
    elif fixed - _GAP <= console.width:
        _two_lines(heads, rows, styles, whys, widths, moves, console)
    else:
        _paragraphs(rows, whys, moves, console, dry=dry)


def _cells(vm: VmRow, *, dry: bool, several: bool, now: datetime | None) -> list[str]:
    how = _HOW[vm.planned] if vm.planned else ""
    way = f"{how} → {vm.target}" if vm.target else how
    took = vm.estimated_seconds if dry else vm.measured.seconds
    return [
        visible(vm.name, _LONGEST_NAME),
        vm.priority.value,
        visible(f"{vm.node_before}: {way}" if several else way, 80),
        *((when_in_words(vm.not_before or now, now),) if now is not None else ()),
        *(() if dry else (vm.fate.value.replace("_", " "),)),
        _took(took, None if dry else vm.measured.estimated_seconds),
        _silence(vm, dry),
    ]


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _style(vm: VmRow, head: str, style: str) -> str:
    return FATE_STYLES[vm.fate] if head == "outcome" else style


def _wide(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    styles: Sequence[str],
    whys: Sequence[str],
    moves: Sequence[VmRow],
) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for head in heads:
        table.add_column(head.lstrip(">"), justify="right" if head.startswith(">") else "left", no_wrap=True)
    table.add_column("why", min_width=_LEAST_WHY)
    for row, why, vm in zip(rows, whys, moves, strict=True):
        cells = [Text(cell, style=_style(vm, head, s)) for cell, head, s in zip(row, heads, styles, strict=True)]
        table.add_row(*cells, Text(visible(why, 400), style="dim"))
    return table


def _two_lines(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    styles: Sequence[str],
    whys: Sequence[str],
    widths: Sequence[int],
    moves: Sequence[VmRow],
    console: Console,
) -> None:
    from rich.padding import Padding
    from rich.text import Text

    def aligned(cells: Sequence[str], cell_styles: Sequence[str]) -> Text:
        line = Text()
        for n, (cell, style) in enumerate(zip(cells, cell_styles, strict=True)):
            pad = " " * (widths[n] - _width(cell))
            line.append(pad + cell if heads[n].startswith(">") else cell + pad, style=style)
            line.append(" " * _GAP if n < len(cells) - 1 else "")
        line.rstrip()
        return line

    console.print(aligned([head.lstrip(">") for head in heads], ["dim"] * len(heads)))
    console.print(Text("─" * min(console.width, sum(widths) + _GAP * (len(widths) - 1)), style="dim"))
    for row, why, vm in zip(rows, whys, moves, strict=True):
        console.print(aligned(row, [_style(vm, head, style) for head, style in zip(heads, styles, strict=True)]))
        if why:
            console.print(Padding(Text(visible(why, 400), style="dim"), (0, 0, 0, _INDENT)))


def _paragraphs(
    rows: Sequence[Sequence[str]], whys: Sequence[str], moves: Sequence[VmRow], console: Console, *, dry: bool
) -> None:
    """For names too long for any column: the name alone, and everything else below it."""
    from rich.padding import Padding
    from rich.text import Text

    for (name, priority, way, *rest), why, vm in zip(rows, whys, moves, strict=True):
        console.print(Text(name, style="bold").append(f"  {priority}", style="not bold"))
        *outcome, took, silent = rest
        said = Text(way)
        for word in outcome:
            said.append("  ").append(word, style=FATE_STYLES[vm.fate])
        said.append(f"  took {took}, silent {silent}" if not dry else f"  takes {took}, silent {silent}")
        console.print(Padding(said, (0, 0, 0, _INDENT)))
        if why:
            console.print(Padding(Text(visible(why, 400), style="dim"), (0, 0, 0, _INDENT)))


def _took(seconds: float | None, expected: float | None) -> str:
    """With what was expected right before the move, where that is known."""
    if seconds is None:
        return "–"
    beside = f" (est. {seconds_in_words(expected)})" if expected is not None else ""
    return seconds_in_words(seconds) + beside


def _silence(vm: VmRow, dry: bool) -> str:
    if vm.planned is ActionKind.COLD_ARCHIVE:
        return "stopped"
    measured = vm.measured.blackout_seconds
    measured = vm.measured.downtime_seconds if measured is None else measured
    seconds = vm.estimated_downtime_seconds if dry else measured
    return "–" if seconds is None else seconds_in_words(seconds)
