"""The report on a terminal. Text from outside has its unseen characters written out and is never read as markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.report.moves_table import print_moves
from agent.report.relevance import relevant_nodes
from agent.report.report import Report, ReportKind, Tone
from agent.report.sentences import few, survived, weighed
from models.base import parse_duration
from models.plan import ActionKind
from models.planning.simulation import Simulation
from models.text import bytes_in_words, counted, percent, seconds_in_words, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_TONES = {Tone.CALM: "blue", Tone.READY: "cyan", Tone.GOOD: "green", Tone.WARN: "yellow", Tone.BAD: "red"}
_MAX_ROWS = 30
_MAX_ALERTS = 12


def render_terminal(report: Report, console: Console) -> None:
    """Print the report: headline, what needs a human, risks, moves, loss, verdict, archives, unknowns."""
    from rich.panel import Panel
    from rich.text import Text

    colour = _TONES[report.tone]
    for mark in report.simulated_marks:
        word = "SIMULATED" if "simulated" in mark else "SYNTHETIC"
        console.print(_text(f" {word}  {mark} ", "black on yellow"))
    title = "dry run" if report.kind is ReportKind.DRY_RUN else "evacuation"
    lines = [_text(report.decision, f"bold {colour}", limit=600)] if report.decision else []
    lines += [_text(report.headline, "bold", limit=600), _text(report.lead, "", limit=600)]
    head = Text("\n").join(lines)
    console.print(Panel(head, title=_text(f"lifeboat {title}", colour), title_align="left", border_style=colour))
    for alert in report.alerts[:_MAX_ALERTS]:
        console.print(_text(f"  ! {alert}", "bold red", limit=400))
    _print_more(len(report.alerts) - _MAX_ALERTS, "alert", console)
    console.print()
    # What no plan saves is what somebody has to look after: before everything that goes well.
    stays = [vm for vm in report.vms if vm.planned is ActionKind.STAY or (vm.concerned and vm.planned is None)]
    for vm in stays[:_MAX_ROWS]:
        why = f": {vm.reason}" if vm.reason else ""
        console.print(_text(f"  {vm.name} ({vm.priority}) stays on {vm.node_before}{why}", "yellow", limit=400))
    _print_more(len(stays) - _MAX_ROWS, "vm", console, "that stay")
    if stays:
        console.print()
    console.print(_risk_table(report, console.width))
    console.print()
    moves = [vm for vm in report.concerned if vm.planned not in (None, ActionKind.STAY)]
    if moves:
        print_moves(report, moves[:_MAX_ROWS], console)
        _print_more(len(moves) - _MAX_ROWS, "move", console)
        console.print()
    for moment in report.moments:
        after = moment.since_trigger_seconds
        since = f"  (trigger {after:+.1f} s)" if after else ""
        console.print(_text(f"  {moment.time:%H:%M:%S}  {moment.label}{since}", ""))
    if report.evacuating:
        loss, horizon = report.loss, seconds_in_words(report.trigger.horizon_seconds)
        of = f"{loss.vms_if_nothing:.2g} of {counted(report.totals.concerned, 'vm')}"
        left_alone = (
            f"Left alone: {of} expected lost within {horizon}; with the plan {loss.vms_with_plan:.2g}. {weighed(loss)}"
        )
        console.print(_text(left_alone, "", limit=400))
    if report.next_failure is not None and (report.evacuating or report.returning or report.at_leisure):
        console.print(_text(survived(report.next_failure), "", limit=400))
    if report.beside_solver:
        console.print(_text(f"Language model: {report.beside_solver[0]}", "", limit=400))
        for line in report.beside_solver[1 : 1 + _MAX_ROWS]:
            console.print(_text(f"  {line}", "", limit=400))
        _print_more(len(report.beside_solver) - 1 - _MAX_ROWS, "difference", console)
    if report.simulation is not None:
        console.print()
        console.print(_simulation_table(report.simulation))
        console.print()
    _print_verdict(report, console)
    for vm in report.archived:
        assert vm.archive is not None
        state, colour = ("verified", "green") if vm.archive.verified else ("NOT VERIFIED", "bold red")
        size = bytes_in_words(vm.archive.stored_bytes)
        line = _text(f"  archive {vm.archive.id} of {vm.name}: {size}, ", "").append(state, colour)
        console.print(line.append_text(_text(f", manifest SHA-256 {vm.archive.sha256}", "dim")))
    for unknown in report.unknowns[:_MAX_ALERTS]:
        console.print(_text(f"  ? {unknown}", "yellow", limit=400))
    _print_more(len(report.unknowns) - _MAX_ALERTS, "thing", console, "not known")
    for note in report.notes:
        console.print(_text(f"  {note}", "dim", limit=400))
    shown = [f"{row.what} {row.value}" for row in report.provenance if row.what in _SHOWN]
    console.print(_text("; ".join(shown), "dim", limit=600))


_SHOWN = ("planner", "solver stood in because", "forecast", "language model", "plan SHA-256", "audit log head")


_WIDE = 110
"""columns from which there is room for more than the first driver of a risk"""
_DRIVERS = 3


def _print_more(count: int, noun: str, console: Console, rest: str = "") -> None:
    if count > 0:
        console.print(_text(f"  and {counted(count, f'more {noun}')} {rest}".rstrip() + ", in --json", "dim"))


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


def _risk_table(report: Report, width: int) -> Table:
    relevant = relevant_nodes(report)
    horizons = relevant.horizons
    table = _table("node", *(f">{seconds_in_words(parse_duration(h).total_seconds())}" for h in horizons), "why")
    for column in table.columns[:-1]:
        column.no_wrap = True
    for node in relevant.shown:
        over = node.at_trigger_horizon is not None and node.at_trigger_horizon >= report.trigger.probability
        style = "bold red" if over or node.lost else "yellow" if node.unknown_why else ""
        cells = [
            _text("unknown" if node.unknown_why or h not in node.probability else percent(node.probability[h]), style)
            for h in horizons
        ]
        told = [driver.words for driver in node.drivers[: _DRIVERS if width >= _WIDE else 1]]
        why = node.unknown_why or "; ".join(told)
        table.add_row(_text(node.name, style, limit=40), *cells, _text(why, ""))
    for group in relevant.groups:
        cells = [_text(percent(group.probability[h]) if h in group.probability else "–", "dim") for h in horizons]
        unknown = f"; {group.unknown} of unknown risk" if group.unknown else ""
        table.add_row(_text(group.label, "dim"), *cells, _text(f"the highest of theirs{unknown}", "dim"))
    return table


def _simulation_table(simulation: Simulation) -> Table:
    table = _table(
        f"in {simulation.runs} futures", ">safe", ">95 of 100", ">lost", ">by weight", ">over after", ">95 of 100"
    )
    for one in simulation.strategies:
        finish = one.finish_seconds
        table.add_row(
            _text(one.strategy, "bold" if one is simulation.strategies[-1] else ""),
            _text(f"{one.saved.p50:g} of {simulation.vms}", ""),
            _text(f"{one.saved.p95:g}", ""),
            _text(f"{one.lost_mean:.3g}", ""),
            _text(few(one.lost_weight_mean), ""),
            _text(seconds_in_words(finish.p50) if finish else "–", ""),
            _text(seconds_in_words(finish.p95) if finish else "–", ""),
        )
    return table


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
