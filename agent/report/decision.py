"""The first line of a report: what its reader has to decide or do. Pure."""

from __future__ import annotations

from agent.report.report import Report, ReportKind, VmRow
from models.evacuation import EvacuationOutcome
from models.fleet import Priority, VmState
from models.plan import ActionKind, Approval, AtLeisure
from models.text import counted, listed, visible

LEISURE = {
    AtLeisure.REBALANCE: "spread load and risk",
    AtLeisure.ARCHIVE_IDLE: "put idle vms into the archive",
}
_URGENCY = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}


def decision(report: Report) -> str:
    """One or two sentences. What no plan saves comes first, since nobody else will look after it."""
    if report.kind is ReportKind.EVACUATION:
        return _after(report)
    moves = any(vm.planned not in (None, ActionKind.STAY) for vm in report.vms)
    if not report.evacuating and not report.returning and not (report.at_leisure and moves):
        return "Nothing to decide."
    parts = [_unsaved(report), _question(report)]
    return " ".join(part for part in parts if part)


def _unsaved(report: Report) -> str:
    stay = [vm for vm in report.vms if vm.planned is ActionKind.STAY or (vm.concerned and vm.planned is None)]
    if not stay:
        return ""
    stay.sort(key=lambda vm: (_URGENCY[vm.priority], vm.state_before is not VmState.RUNNING))
    whole = f"{counted(len(stay), 'vm')} can't {'come back' if report.returning else 'be moved'}: "
    return whole + listed([visible(vm.name, 60) for vm in stay]) + "."


def _question(report: Report) -> str:
    rows = report.vms if report.at_leisure else report.concerned
    moves = [vm for vm in rows if vm.planned not in (None, ActionKind.STAY)]
    names = listed([visible(name, 60) for name in report.evacuating])
    if not moves:
        return "There is nothing that a plan could move."
    what = f"{names}: {_kinds(moves)}"
    if report.passed is False:
        what = f"move off {names}" if names else "move"
        return f"Refused, nothing will {what}: see the broken rules."
    if report.returning:
        to = listed([visible(name, 60) for name in report.returning])
        return f"Approve or reject: give {to} its vms back: {_kinds(moves)}."
    if report.at_leisure is not None:
        return f"Approve or reject, nothing forces it: {LEISURE[report.at_leisure]}: {_kinds(moves)}."
    if report.approval is Approval.NONE:
        return f"Policy lets this run: evacuate {what}."
    return f"Approve or reject: evacuate {what}."


def _kinds(moves: list[VmRow]) -> str:
    cold = [vm for vm in moves if vm.planned is ActionKind.COLD_MIGRATE]
    off = sum(vm.state_before is VmState.SHUTOFF for vm in cold)
    counts = (
        (sum(vm.planned is ActionKind.LIVE_MIGRATE for vm in moves), "moves live", "move live"),
        (len(cold) - off, "is stopped to move", "are stopped to move"),
        (off, "moves while shut off", "move while shut off"),
        (
            sum(vm.planned is ActionKind.COLD_ARCHIVE for vm in moves),
            "is stopped and archived",
            "are stopped and archived",
        ),
    )
    return listed([f"{count} {one if count == 1 else many}" for count, one, many in counts if count])


def _after(report: Report) -> str:
    if report.alerts:
        return f"A human is needed: {counted(len(report.alerts), 'thing')} to look at."
    if report.outcome is EvacuationOutcome.RUNNING:
        return "Nothing to decide yet: it is still running."
    if report.totals.untouched or report.totals.waiting:
        left = report.totals.untouched + report.totals.waiting
        return f"{counted(left, 'vm')} still on the node: decide what becomes of {'it' if left == 1 else 'them'}."
    return "Nothing left to do."
