"""The sentences of a report: headline, lead, what needs a human. Pure."""

from __future__ import annotations

from agent.report.report import Fate, Loss, MomentKind, NodeRow, Report, ReportKind, Tone, VmRow
from models.evacuation import AttemptOutcome, EvacuationOutcome
from models.plan import ActionKind, Approval, AtLeisure, NextFailure, Plan, Survival
from models.text import counted, listed, moment, percent, seconds_in_words, visible

__all__ = ["Tone", "alerts", "headline", "lead", "listed", "listed_vms", "moment", "planner_name", "tone"]


def planner_name(plan: Plan) -> str:
    names = {"llm": "language model", "solver": "solver"}
    name = names.get(plan.planned_by.planner, plan.planned_by.planner)
    return f"{name} (standing in)" if plan.planned_by.fallback_reason else name


def beside_solver(plan: Plan) -> tuple[str, ...]:
    """How a plan stands beside the solver's: both losses, then where they differ and why. Nothing for the solver's own."""
    compared = plan.planned_by.compared
    if compared is None:
        return ()
    losses = f"expected loss {plan.expected_loss:.3g}, the solver's plan {compared.solver_expected_loss:.3g}"
    if not compared.differs:
        return (f"{losses}; the same moves",)
    lines = [
        f"{visible(one.vm_name or one.vm, 60)}: {_choice(one.kind, one.target)} instead of "
        f"{_choice(one.solver_kind, one.solver_target)}{f': {visible(one.why)}' if one.why else ''}"
        for one in compared.differs
    ]
    return (f"{losses}; {counted(len(lines), 'vm')} otherwise", *lines)


def _choice(kind: ActionKind, target: str | None) -> str:
    return f"{kind.value} to {visible(target, 60)}" if target else kind.value


def listed_vms(names: list[str]) -> str:
    return listed([visible(name, 60) for name in names])


def tone(report: Report, alerts: tuple[str, ...]) -> Tone:
    totals = report.totals
    if totals.lost or totals.indeterminate:
        return Tone.BAD
    if report.kind is ReportKind.DRY_RUN:
        if report.passed is False or alerts:
            return Tone.WARN
        return Tone.READY if any(vm.planned not in (None, ActionKind.STAY) for vm in report.vms) else Tone.CALM
    if report.outcome is EvacuationOutcome.RUNNING:
        return Tone.READY
    return Tone.WARN if alerts or report.outcome is not EvacuationOutcome.DONE else Tone.GOOD


def alerts(report: Report) -> tuple[str, ...]:
    """What needs a human, the most urgent first."""
    lines = [_indeterminate(vm) for vm in report.vms if vm.fate is Fate.INDETERMINATE]
    lost = [vm.name for vm in report.vms if vm.fate is Fate.LOST]
    if lost:
        verb, them = ("was", "it") if len(lost) == 1 else ("were", "them")
        lines.append(
            f"{listed_vms(lost)} {verb} on a node when it stopped answering: "
            f"make sure that node is off before you start {them} from a backup"
        )
    lines += [
        f"{visible(vm.name, 60)} {_how_it_ended(vm)}: {visible(vm.message) or 'no reason was recorded'}"
        for vm in report.vms
        if vm.outcome in (AttemptOutcome.FAILED, AttemptOutcome.REFUSED) and vm.fate is Fate.UNTOUCHED
    ]
    lines += [f"rule {result.rule} failed: {visible(result.why)}" for result in report.rules if not result.passed]
    return tuple(lines)


def _how_it_ended(vm: VmRow) -> str:
    where = f"on {visible(vm.node_after, 60)}" if vm.node_after else "where it was"
    return f"could not be moved and is still {where}" if vm.outcome is AttemptOutcome.FAILED else f"stayed {where}"


def _indeterminate(vm: VmRow) -> str:
    name = visible(vm.name, 60)
    if vm.outcome is AttemptOutcome.DONE:
        seen = f"{vm.state_after} on {visible(vm.node_after, 60)}" if vm.node_after and vm.state_after else "nowhere"
        return f"{name} was moved, yet was seen {seen} afterwards: check {_places(vm)} before you start it anywhere"
    why = f" ({visible(vm.message)})" if vm.message else ""
    return f"nobody knows where {name} runs{why}: check {_places(vm)} before you start it anywhere"


def _places(vm: VmRow) -> str:
    return listed([visible(name, 60) for name in (vm.node_before, vm.target) if name])


def headline(report: Report) -> str:
    return f"{_cause(report)}; {_effect(report)}." if report.evacuating else f"{_quiet(report)}."


def _quiet(report: Report) -> str:
    if report.returning:
        back = sum(vm.planned not in (None, ActionKind.STAY) for vm in report.vms)
        verb = "returns" if back == 1 else "return"
        took = f" in about {seconds_in_words(report.seconds_to_safety)}" if report.seconds_to_safety is not None else ""
        return f"{counted(back, 'vm')} {verb} to {listed([visible(name, 60) for name in report.returning])}{took}"
    moves = sum(vm.planned not in (None, ActionKind.STAY) for vm in report.vms)
    if report.at_leisure is AtLeisure.REBALANCE:
        return (
            f"{counted(moves, 'vm')} would move to spread load and risk"
            if moves
            else "Load and risk are spread well enough"
        )
    if report.at_leisure is AtLeisure.ARCHIVE_IDLE:
        return f"{counted(moves, 'idle vm')} would go into the archive" if moves else "No idle vm may be archived"
    unknown = [visible(node.name, 60) for node in report.nodes if node.at_trigger_horizon is None]
    calm = "No node is to be emptied"
    if unknown:
        return f"{calm}; the risk of {listed(unknown)} is unknown, which is not healthy"
    worst = max(report.nodes, key=lambda node: node.at_trigger_horizon or 0.0, default=None)
    if worst is None:
        return calm
    return f"{calm}: the highest risk is {percent(worst.at_trigger_horizon or 0.0)} within {_horizon(report)}"


def _cause(report: Report) -> str:
    nodes = [node for node in report.nodes if node.evacuating]
    names = listed([visible(node.name, 60) for node in nodes])
    past = [n for n in nodes if n.at_trigger_horizon is not None and n.at_trigger_horizon >= report.trigger.probability]
    planned = report.kind is ReportKind.DRY_RUN
    be = ("is", "are") if planned else ("was", "were")
    be = be[len(nodes) > 1]
    if not past:
        return f"{names} {be} {'to be emptied' if planned else 'emptied'} on request{_low(nodes, report)}"
    worst = max(past, key=lambda node: node.at_trigger_horizon or 0.0)
    chance = percent(worst.at_trigger_horizon or 0.0)
    forecast = f"{names} {be} forecast to fail ({chance} within {_horizon(report)})"
    because = visible(worst.drivers[0].words, 140).rstrip(". ") if worst.drivers else ""
    return f"{forecast} because {because}" if because else forecast


def _horizon(report: Report) -> str:
    return seconds_in_words(report.trigger.horizon_seconds)


def _low(nodes: list[NodeRow], report: Report) -> str:
    known = [node.at_trigger_horizon for node in nodes if node.at_trigger_horizon is not None]
    if len(known) < len(nodes):
        return " (risk unknown)"
    return f" (risk {percent(max(known))} within {_horizon(report)})" if known else ""


def _effect(report: Report) -> str:
    totals = report.totals
    if report.kind is ReportKind.DRY_RUN:
        return _planned(report)
    if report.outcome is EvacuationOutcome.REFUSED:
        return "nothing was touched"
    parts = [f"{counted(totals.safe, 'vm')} {'is' if totals.safe == 1 else 'are'} safe", f"{totals.lost} lost"]
    if totals.indeterminate:
        parts.append(f"{totals.indeterminate} must be checked by a human")
    if totals.untouched:
        parts.append(f"{totals.untouched} not moved")
    if totals.waiting:
        parts.append(f"{totals.waiting} still to go")
    return ", ".join(parts)


def _planned(report: Report) -> str:
    live = [vm for vm in report.vms if vm.planned in (ActionKind.LIVE_MIGRATE, ActionKind.COLD_MIGRATE)]
    archived = [vm for vm in report.vms if vm.planned is ActionKind.COLD_ARCHIVE]
    stay = [vm for vm in report.concerned if vm.planned in (None, ActionKind.STAY)]
    parts = [f"moves {counted(len(live), 'vm')} to other nodes"] if live else []
    if archived:
        parts.append(f"archives {len(archived)}" if live else f"archives {counted(len(archived), 'vm')}")
    if stay:
        parts.append(f"leaves {len(stay)} where {'it is' if len(stay) == 1 else 'they are'}")
    if not parts:
        return "it holds no vm to move" if len(report.evacuating) == 1 else "they hold no vm to move"
    took = f", in about {seconds_in_words(report.seconds_to_safety)}" if report.seconds_to_safety is not None else ""
    return f"the plan {', '.join(parts[:-1])}{' and ' if len(parts) > 1 else ''}{parts[-1]}{took}"


def weighed(loss: Loss) -> str:
    """What is lost by weight, and how far any plan could better it."""
    told = (
        f"By weight, as it was planned, that is {few(loss.weighted_if_nothing)} against {few(loss.weighted_with_plan)}"
    )
    if loss.weighted_bound is None or loss.gap is None:
        return f"{told}."
    if loss.gap < 0.0005:
        return f"{told}, and no plan loses less."
    return f"{told}; no plan goes below {few(loss.weighted_bound)}, {percent(loss.gap)} less."


def survived(told: NextFailure) -> str:
    """Which next failure the fleet survives, before and after."""
    before, after = told.before, told.after
    if not before.nodes:
        return "No sound node is left to take anything."
    if before == after:
        return f"The next failure: the fleet survives that of {_survivable(before)}, with the plan and without."
    return f"The next failure: before the plan the fleet survives that of {_survivable(before)}; after it {_survivable(after)}."


def _survivable(told: Survival) -> str:
    whole = "the only sound node" if told.nodes == 1 else f"any one of {told.nodes} sound nodes"
    if not told.not_survived:
        return whole
    such = listed_vms(list(told.such_as[:3]))
    more = told.not_survived - min(3, len(told.such_as))
    names = f"{such} and {more} more" if more > 0 else such
    if told.not_survived == told.nodes:
        return f"no sound node: the vms of none would all find room ({names})"
    return f"{told.nodes - told.not_survived} of {told.nodes} sound nodes, not of {names}"


def few(figure: float) -> str:
    """Two or three digits that count: `197`, `4.7`, `0.02`."""
    if figure == 0:
        return "0"
    if figure < 0.001:
        return "< 0.001"
    return f"{figure:,.0f}" if figure >= 99.5 else f"{figure:.3g}" if figure >= 0.995 else f"{figure:.1g}"


def lead(report: Report) -> str:
    sentences = _lead_of_plan(report) if report.kind is ReportKind.DRY_RUN else _lead_of_evacuation(report)
    return " ".join(sentence for sentence in sentences if sentence)


def _lead_of_plan(report: Report) -> list[str]:
    failed = [result.rule for result in report.rules if not result.passed]
    unjudged = [result.rule for result in report.rules if not result.judged]
    and_unjudged = f"; {listed(unjudged)} not judged" if unjudged else ""
    judged = {
        None: "The guard has not judged it yet.",
        True: f"The guard passed it: {counted(len(report.rules) - len(unjudged), 'rule')} kept, none broken{and_unjudged}.",
        False: f"The guard refused it: {listed(failed)}.",
    }[report.passed]
    ask = {
        Approval.HUMAN: "A human must approve it before anything moves.",
        Approval.NONE: "Policy lets it run without asking.",
        None: "",
    }[report.approval if report.passed else None]
    planned = bool(report.evacuating or report.returning or report.at_leisure)
    return ["Dry run: nothing was changed.", judged if planned else "", ask if planned else ""]


def _lead_of_evacuation(report: Report) -> list[str]:
    sentences: list[str] = []
    totals = report.totals
    if totals.moved and totals.archived:
        runs = "1 runs on another node" if totals.moved == 1 else f"{totals.moved} run on other nodes"
        sentences.append(
            f"{runs} and {totals.archived} {'is' if totals.archived == 1 else 'are'} verified in the archive."
        )
    elif totals.archived:
        be = "is" if totals.archived == 1 else "are"
        sentences.append(f"{counted(totals.archived, 'vm')} {be} verified in the archive.")
    if report.longest_blackout_seconds is not None:
        source = "seen from outside" if report.longest_blackout_from == "probe" else "as the hypervisor measured"
        silence = seconds_in_words(report.longest_blackout_seconds)
        sentences.append(f"The longest silence of a moving vm was {silence}, {source}.")
    safe = [m.time for m in report.moments if m.kind is MomentKind.ALL_SAFE]
    for lost in (m for m in report.moments if m.kind is MomentKind.NODE_LOST):
        loss = visible(lost.label, 120)
        if safe and lost.time >= max(safe):
            after = seconds_in_words((lost.time - max(safe)).total_seconds())
            sentences.append(f"{loss} {after} after the last move was done.")
        else:
            sentences.append(f"{loss} before every vm was safe.")
    ending = _ENDED.get(report.outcome) if report.outcome else None
    return [*sentences, ending] if ending else sentences


_ENDED = {
    EvacuationOutcome.CANCELLED: "It was cancelled.",
    EvacuationOutcome.RUNNING: "It is still running.",
    EvacuationOutcome.REFUSED: "It was refused.",
}
