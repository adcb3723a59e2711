"""The report on a terminal. Text from outside has its unseen characters written out and is never read as markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.report.report import Fate, Report, ReportKind, Tone, VmRow
from models.base import parse_duration
from models.plan import ActionKind
from models.text import bytes_in_words, counted, percent, seconds_in_words, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_TONES = {Tone.CALM: "blue", Tone.READY: "cyan", Tone.GOOD: "green", Tone.WARN: "yellow", Tone.BAD: "red"}
_FATES = {
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
_MAX_ROWS = 30


def render_terminal(report: Report, console: Console) -> None:
    """Print the report: headline, what needs a human, risks, moves, loss, verdict, archives, unknowns."""
    from rich.panel import Panel
    from rich.text import Text

    colour = _TONES[report.tone]
    for mark in report.simulated_marks:
        word = "SIMULATED" if "simulated" in mark else "SYNTHETIC"
        console.print(_text(f" {word}  {mark} ", "black on yellow"))
    title = "dry run" if report.kind is ReportKind.DRY_RUN else "evacuation"
    head = Text("\n").join([_text(report.headline, "bold", limit=600), _text(report.lead, "", limit=600)])
    console.print(Panel(head, title=_text(f"lifeboat {title}", colour), title_align="left", border_style=colour))
    for alert in report.alerts:
        console.print(_text(f"  ! {alert}", "bold red", limit=400))
    console.print()
    console.print(_risk_table(report))
    console.print()
    moves = [vm for vm in report.concerned if vm.planned not in (None, ActionKind.STAY)]
    if moves:
        console.print(_moves_table(report, moves[:_MAX_ROWS]))
        console.print()
        if len(moves) > _MAX_ROWS:
            console.print(_text(f"  and {len(moves) - _MAX_ROWS} more moves", "dim"))
    for vm in report.concerned:
        if vm.planned in (None, ActionKind.STAY):
            why = f": {vm.reason}" if vm.reason else ""
            console.print(_text(f"  {vm.name} stays on {vm.node_before}{why}", "dim", limit=400))
    for moment in report.moments:
        after = moment.since_trigger_seconds
        since = f"  (trigger {after:+.1f} s)" if after else ""
        console.print(_text(f"  {moment.time:%H:%M:%S}  {moment.label}{since}", ""))
    if report.evacuating:
        loss, horizon = report.loss, seconds_in_words(report.trigger.horizon_seconds)
        of = f"{loss.vms_if_nothing:.2g} of {counted(report.totals.concerned, 'vm')}"
        left_alone = f"Left alone: {of} expected lost within {horizon}; with the plan {loss.vms_with_plan:.2g}."
        console.print(_text(left_alone, ""))
    _print_verdict(report, console)
    for vm in report.archived:
        assert vm.archive is not None
        state, colour = ("verified", "green") if vm.archive.verified else ("NOT VERIFIED", "bold red")
        size = bytes_in_words(vm.archive.stored_bytes)
        line = _text(f"  archive {vm.archive.id} of {vm.name}: {size}, ", "").append(state, colour)
        console.print(line.append_text(_text(f", manifest SHA-256 {vm.archive.sha256}", "dim")))
    for unknown in report.unknowns:
        console.print(_text(f"  ? {unknown}", "yellow", limit=400))
    for note in report.notes:
        console.print(_text(f"  {note}", "dim", limit=400))
    shown = [f"{row.what} {row.value}" for row in report.provenance if row.what in _SHOWN]
    console.print(_text("; ".join(shown), "dim", limit=600))


_SHOWN = ("planner", "solver stood in because", "forecast", "language model", "plan SHA-256", "audit log head")


def _text(text: str, style: str, *, limit: int = 200) -> Text:
    from rich.text import Text

    return Text(visible(text, limit), style=style)


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table


def _risk_table(report: Report) -> Table:
    horizons = sorted({h for n in report.nodes for h in n.probability}, key=lambda h: parse_duration(h).total_seconds())
    table = _table("node", *(f">{seconds_in_words(parse_duration(h).total_seconds())}" for h in horizons), "why")
    ranked = sorted(
        report.nodes,
        key=lambda n: (not n.evacuating, n.at_trigger_horizon is not None, -(n.at_trigger_horizon or 0.0)),
    )
    for node in ranked[:_MAX_ROWS]:
        over = node.at_trigger_horizon is not None and node.at_trigger_horizon >= report.trigger.probability
        style = "bold red" if over or node.lost else "yellow" if node.unknown_why else ""
        cells = [
            _text("unknown" if node.unknown_why or h not in node.probability else percent(node.probability[h]), style)
            for h in horizons
        ]
        why = node.unknown_why or (node.drivers[0].why if node.drivers else "")
        table.add_row(_text(node.name, style, limit=40), *cells, _text(why, ""))
    return table


def _moves_table(report: Report, moves: list[VmRow]) -> Table:
    dry = report.kind is ReportKind.DRY_RUN
    table = _table("vm", "prio", "how", *(() if dry else ("outcome",)), ">took", ">silent", "why")
    table.columns[0].no_wrap = True
    table.columns[0].min_width = min(28, max(len(visible(vm.name, 40)) for vm in moves))
    several = len({vm.node_before for vm in moves}) > 1
    for vm in moves:
        how = _HOW[vm.planned] if vm.planned else ""
        way = f"{how} → {vm.target}" if vm.target else how
        took = vm.estimated_seconds if dry else vm.measured.seconds
        table.add_row(
            _text(vm.name, "bold", limit=40),
            _text(vm.priority, ""),
            _text(f"{vm.node_before}: {way}" if several else way, "", limit=80),
            *(() if dry else (_text(vm.fate.value.replace("_", " "), _FATES[vm.fate]),)),
            _text(_took(took, None if dry else vm.measured.estimated_seconds), ""),
            _text(_silence(vm, dry), ""),
            _text(vm.reason if dry or not vm.message else vm.message, "dim"),
        )
    return table


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


def _print_verdict(report: Report, console: Console) -> None:
    if report.passed is None:
        return
    word, colour = ("passed", "green") if report.passed else ("refused", "bold red")
    line = _text("Guard: ", "").append(word, colour).append(f", {counted(len(report.rules), 'rule')}")
    if report.approved_by:
        line.append_text(_text(f"; approved by {report.approved_by}", ""))
    elif report.passed and report.approval:
        why = f", {report.approval_why}" if report.approval_why else ""
        line.append_text(_text(f"; approval: {report.approval}{why}", ""))
    console.print(line)
