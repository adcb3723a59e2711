"""The report as Markdown for a ticket or a chat: short, and readable before anything renders it.

Text from outside has its unseen characters written out and every character that Markdown or HTML reads as markup escaped, so
that a name can neither link, mention, nor break out of its cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from agent.report.relevance import relevant_nodes
from agent.report.report import Fate, Report, ReportKind, VmRow
from agent.report.sentences import survived, weighed
from models.base import parse_duration
from models.plan import ActionKind
from models.planning.simulation import Simulation
from models.text import bytes_in_words, counted, percent, seconds_in_words, visible

MOST_ROWS = 50
"""rows of one table; a ticket is read, not searched"""
_MARKUP = re.compile(r"[\\`*\[\]<>#|~$@&]|(?<!\w)_|_(?!\w)")
"""what marks up wherever it stands; an underscore between letters does not"""
_LINE_START = re.compile(r"^(\s*\d*)([-+=](?=[\s=-])|(?<=\d)[.)](?=\s))")
"""what makes a list, a heading or a rule of the line it begins"""
_BARE_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto)(:)|\b(www)(\.)")
_HOW = {
    ActionKind.LIVE_MIGRATE: "live",
    ActionKind.COLD_MIGRATE: "cold move",
    ActionKind.COLD_ARCHIVE: "cold archive",
    ActionKind.STAY: "stays",
}


def render_markdown(report: Report) -> str:
    """The whole report as text that ends with a line break."""
    dry = report.kind is ReportKind.DRY_RUN
    parts: list[str] = [f"> **{_safe(mark)}**" for mark in report.simulated_marks]
    if report.decision:
        parts.append(f"**{_safe(report.decision, 600)}**")
    parts += [_safe(report.headline, 600), _safe(report.lead, 600)]
    if report.alerts:
        parts.append(_section("Needs a human", _bullets(report.alerts)))
    stays = [vm for vm in report.vms if vm.planned is ActionKind.STAY or (vm.concerned and vm.planned is None)]
    if stays:
        parts.append(_section("Not moved", _bullets([_stay(vm) for vm in stays])))
    if report.nodes:
        parts.append(_section("Risk", _risks(report)))
    moves = [vm for vm in report.concerned if vm.planned not in (None, ActionKind.STAY)]
    if moves:
        parts.append(_section("Moves, as planned" if dry else "Moves", _moves(moves, dry=dry)))
    if report.evacuating:
        loss, horizon = report.loss, seconds_in_words(report.trigger.horizon_seconds)
        parts.append(
            _safe(
                f"Left alone, {loss.vms_if_nothing:.2g} of {counted(report.totals.concerned, 'vm')} are expected lost "
                f"within {horizon}; with the plan {loss.vms_with_plan:.2g}. {weighed(loss)}",
                400,
            )
        )
    if report.next_failure is not None and (report.evacuating or report.returning or report.at_leisure):
        parts.append(_safe(survived(report.next_failure), 400))
    if report.beside_solver:
        parts.append(_section("Language model beside the solver", _bullets(report.beside_solver)))
    if report.simulation is not None:
        parts.append(_section("Imagined futures", _simulation(report.simulation)))
    if report.rules:
        parts.append(_section("Guard", _verdict(report)))
    if report.archived:
        parts.append(_section("Archives", _bullets([_archive(vm) for vm in report.archived])))
    if report.unknowns:
        parts.append(_section("Not known", _bullets(report.unknowns)))
    if report.notes:
        parts.append(_section("Notes", _bullets(report.notes)))
    parts.append("\n".join(f"- {_safe(row.what)}: {_safe(row.value, 400)}" for row in report.provenance))
    return "\n\n".join(part for part in parts if part) + "\n"


def _safe(text: str, limit: int = 200) -> str:
    escaped = _LINE_START.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", visible(text, limit)))
    # What looks like an address would become a link by itself in most places.
    return _BARE_ADDRESS.sub(lambda found: f"{found[1] or found[3]} {found[2] or found[4]}", escaped)


def _section(title: str, body: str) -> str:
    return f"### {title}\n\n{body}"


def _bullets(lines: Sequence[str]) -> str:
    shown = [f"- {_safe(line, 400)}" for line in lines[:MOST_ROWS]]
    if len(lines) > MOST_ROWS:
        shown.append(f"- and {len(lines) - MOST_ROWS} more, in the JSON report")
    return "\n".join(shown)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """`heads` with a leading `>` are aligned to the right; cells are escaped here."""
    lines = [
        "| " + " | ".join(head.lstrip(">") for head in heads) + " |",
        "|" + "|".join("---:" if head.startswith(">") else "---" for head in heads) + "|",
    ]
    return "\n".join(lines + ["| " + " | ".join(_safe(cell) for cell in row) + " |" for row in rows])


def _risks(report: Report) -> str:
    relevant = relevant_nodes(report)
    spans = [f">{seconds_in_words(parse_duration(h).total_seconds())}" for h in relevant.horizons]
    rows = [
        [
            node.name,
            *(
                "unknown" if node.unknown_why or h not in node.probability else percent(node.probability[h])
                for h in relevant.horizons
            ),
            node.unknown_why or "; ".join(driver.words for driver in node.drivers[:3]),
        ]
        for node in relevant.shown
    ]
    rows += [
        [
            group.label,
            *(percent(group.probability[h]) if h in group.probability else "–" for h in relevant.horizons),
            "the highest of theirs" + (f"; {group.unknown} of unknown risk" if group.unknown else ""),
        ]
        for group in relevant.groups
    ]
    return _table(["node", *spans, "why"], rows)


def _moves(moves: Sequence[VmRow], *, dry: bool) -> str:
    heads = [
        "vm",
        "priority",
        "how",
        "from → to",
        *(() if dry else ("outcome",)),
        ">takes" if dry else ">took",
        ">silent",
        "why",
    ]
    rows = [
        [
            vm.name,
            vm.priority.value,
            _HOW[vm.planned] if vm.planned else "",
            f"{vm.node_before} → {vm.target or 'archive'}",
            *(() if dry else (vm.fate.value.replace("_", " "),)),
            _seconds(vm.estimated_seconds if dry else vm.measured.seconds),
            "stopped" if vm.planned is ActionKind.COLD_ARCHIVE else _seconds(_silence(vm, dry=dry)),
            vm.reason if dry or not vm.message else vm.message,
        ]
        for vm in moves[:MOST_ROWS]
    ]
    more = f"\n\nand {len(moves) - MOST_ROWS} more, in the JSON report" if len(moves) > MOST_ROWS else ""
    return _table(heads, rows) + more


def _simulation(simulation: Simulation) -> str:
    heads = [f"in {simulation.runs} runs", ">safe", ">safe in 95 of 100", ">lost on average", ">over after"]
    rows = [
        [
            one.strategy,
            f"{one.saved.p50:g} of {simulation.vms}",
            f"{one.saved.p95:g}",
            f"{one.lost_mean:.3g}",
            _seconds(one.finish_seconds.p50 if one.finish_seconds else None),
        ]
        for one in simulation.strategies
    ]
    return _table(heads, rows)


def _silence(vm: VmRow, *, dry: bool) -> float | None:
    if dry:
        return vm.estimated_downtime_seconds
    probed = vm.measured.blackout_seconds
    return vm.measured.downtime_seconds if probed is None else probed


def _seconds(seconds: float | None) -> str:
    return "–" if seconds is None else seconds_in_words(seconds)


def _stay(vm: VmRow) -> str:
    where = "lost" if vm.fate is Fate.LOST else f"stays on {vm.node_before}"
    return f"{vm.name} ({vm.priority.value}) {where}" + (f": {vm.reason}" if vm.reason else "")


def _archive(vm: VmRow) -> str:
    assert vm.archive is not None
    state = "verified" if vm.archive.verified else "NOT VERIFIED"
    size = bytes_in_words(vm.archive.stored_bytes)
    return f"{vm.name}: {vm.archive.id}, {size}, {state}, manifest SHA-256 {vm.archive.sha256}"


def _verdict(report: Report) -> str:
    kept = sum(result.passed and result.judged for result in report.rules)
    odd = [result for result in report.rules if not (result.passed and result.judged)]
    lines = [f"{'passed' if report.passed else 'refused'}, {counted(kept, 'rule')} kept"]
    lines += [f"{'not judged' if result.passed else 'broken'}: {result.rule}: {result.why}" for result in odd]
    if report.approved_by:
        lines.append(f"approved by {report.approved_by}")
    elif report.passed and report.approval:
        lines.append(f"approval: {report.approval}" + (f", {report.approval_why}" if report.approval_why else ""))
    return _bullets(lines)
