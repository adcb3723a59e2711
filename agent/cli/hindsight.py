"""`lifeboat hindsight`: what came of decisions, and how right risks and plans were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from agent.settings import Settings
    from models.hindsight.agreement import Agreement
    from models.hindsight.calibration import Calibration, Counts, Ratio, Share
    from models.hindsight.look_back import Failure, Scored, Stretch

hindsight = typer.Typer(
    rich_markup_mode=None,
    invoke_without_command=True,
    help="Look back: what came of each decision, and how right risks and plans were.",
)


@hindsight.callback()
def show(
    context: typer.Context,
    since: Annotated[str, typer.Option("--since", metavar="DURATION", help="How far to look back.")] = "90d",
    incidents: Annotated[
        Path | None,
        typer.Option(
            "--incidents", metavar="CSV", help="Incidents people know of: node,start,end,kind (failure, maintenance)."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what came of each evacuation and of each advice not taken, and how right risks and plans were, with intervals.

    A decision is looked back on over a day. `lifeboat run` keeps what that needs.
    """
    if context.invoked_subcommand is not None:
        return
    from agent.cli.console import console, write_json
    from agent.settings import load_settings
    from agent.state.decisions import agreed, evidence, measured, noted_risks, scored
    from models.base import parse_duration
    from models.errors import BadInput
    from models.hindsight.calibration import calibrate
    from models.hindsight.look_back import WINDOW
    from tools.clock import SystemClock
    from tools.journal import open_existing_journal

    settings = load_settings(config)
    try:
        back = parse_duration(since)
    except ValueError as error:
        raise BadInput(f"--since: {error}", hint="such as 30d") from error
    told, work = _told(settings, incidents or settings.forecast.incidents)
    journal = open_existing_journal(settings)
    if journal is None:
        raise BadInput(f"{settings.state_dir} has no journal yet", hint="`lifeboat run` and `apply` write it")
    try:
        now = SystemClock().now()
        begin = now - back
        seen = evidence(journal, begin - WINDOW, told=told, work=work)
        found = scored(journal, seen, now, begin)
        moves, pauses = measured(journal, begin)
        came = calibrate(found, noted_risks(journal, begin), seen, moves, pauses, now)
        same = agreed(journal, begin)
    finally:
        journal.close()
    if as_json:
        write_json(
            {
                "since": begin.isoformat(),
                "window_seconds": WINDOW.total_seconds(),
                "decisions": [{**one.model_dump(mode="json"), "lost": one.lost} for one in found],
                "calibration": came.model_dump(mode="json"),
                "agreement": same.model_dump(mode="json"),
            }
        )
        return
    _print(found, came, same, console())


@hindsight.command()
def correct(
    decision: Annotated[str, typer.Argument(metavar="DECISION", help="Its id, as `lifeboat hindsight` shows it.")],
    came: Annotated[str, typer.Argument(metavar="averted|unneeded|missed|unknowable")],
    node: Annotated[str, typer.Option("--node", help="Which node, where it was about several.")] = "",
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="How you know; kept in the journal.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what came of a decision, in your name, where lifeboat can't know: whether a node that was emptied failed, say."""
    from agent.approve.identity import terminal_identity
    from agent.cli.console import console, write_json
    from agent.settings import load_settings
    from agent.state.decisions import correct as correct_decision
    from models.errors import BadInput
    from models.hindsight.look_back import Hindsight
    from models.text import visible
    from tools.clock import SystemClock
    from tools.journal import open_journal

    if came not in list(Hindsight):
        raise BadInput(f"{came!r} is none of {', '.join(Hindsight)}", hint="choose one")
    journal = open_journal(load_settings(config))
    try:
        by = terminal_identity()
        found = correct_decision(
            journal, decision, node, Hindsight(came), by=by, why=visible(why, 300), now=SystemClock().now()
        )
    finally:
        journal.close()
    if as_json:
        write_json({"decision": found.id, "node": found.node, "hindsight": came, "by": by})
    else:
        console().print(f"{found.id}, {found.node}: {came}, by {by}", markup=False, soft_wrap=True)


def _told(settings: Settings, incidents: Path | None) -> tuple[list[Failure], dict[str, list[Stretch]]]:
    """What people and the history of the telemetry know: failures and planned work."""
    from datetime import UTC, datetime

    from models.errors import BadInput
    from models.hindsight.look_back import Failure, Stretch
    from models.risk.incidents import IncidentKind
    from models.risk.incidents import incidents as read_failures
    from tools.history.incident_file import read_incidents

    reported, windows = read_incidents(incidents) if incidents is not None else ([], [])
    found = read_failures((), until=0.0, reported=reported)
    directory = settings.state_dir / "history"
    if (directory / "state.npz").exists():
        from tools.history.store import HistoryStore
        from tools.signals import load_catalogue

        try:
            known = HistoryStore(directory, load_catalogue(settings.signals_file)).read()
        except BadInput as error:
            from agent.cli.console import note

            note(f"note: the history of the telemetry is left out: {error}")
        else:
            found = read_failures(
                known.spells, until=known.until, reported=reported, maintenance=windows, events=known.events
            )

    def at(seconds: float) -> datetime:
        return datetime.fromtimestamp(max(0.0, min(seconds, 4e9)), UTC)

    words = {
        IncidentKind.REBOOT: "it rebooted",
        IncidentKind.DOWN: "it went down",
        IncidentKind.REPORTED: "a person reported it",
    }
    failures = [
        Failure(
            node=one.node,
            at=at(one.at),
            why=words[one.kind] + (f" after {one.cause}" if one.cause else ""),
            sure=one.kind is IncidentKind.REPORTED or one.cause is not None,
        )
        for one in found
    ]
    work: dict[str, list[Stretch]] = {}
    for window in windows:
        work.setdefault(window.node, []).append(Stretch(start=at(window.start), end=at(window.end)))
    return failures, work


def _print(found: Sequence[Scored], came: Calibration, same: Agreement, out: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from models.text import moment, visible

    if not found:
        out.print("no decision is old enough to look back on")
    else:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
        for column in ("when", "node", "came", "why"):
            table.add_column(column, no_wrap=column in ("came",))
        for one in found:
            what = (
                "" if one.decision.taken else f" ({one.decision.occasion})" if one.decision.occasion == "shadow" else ""
            )
            table.add_row(
                moment(one.decision.at),
                Text(visible(one.decision.node, 60)),
                Text(f"{one.hindsight}{what}", style={"averted": "green", "missed": "bold red"}.get(one.hindsight, "")),
                Text(visible(f"{one.why} [{one.decision.id}]" if one.decision.id else one.why, 300)),
            )
        out.print(table)
    lines = [
        f"carried out: {_counts(came.evacuations)}; needed: {_share(came.needed)}",
        f"advice not taken: {_counts(came.advice)}; failures nobody was warned of: {came.unadvised}",
        f"failures foreseen: {_share(came.foreseen)}",
        f"moves: {_ratio(came.seconds)}",
        f"pauses: {_ratio(came.downtime)}",
        f"expected loss {came.expected_loss:.3g}, lost {came.lost:.3g} (weight of vms, where it can be judged)",
        f"a language model did as the solver: {_share(same.model_and_solver, 'vms')}",
        f"people agreed: {_share(same.people_approved, 'plans')}",
        f"in shadow mode people did what lifeboat would have: {_share(same.people_did_the_same, 'moves')}",
    ]
    out.print()
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
    if not any(band.came.of for band in came.risks):
        out.print("no forecast is old enough to hold against what came", markup=False)
        return
    risks = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for column in ("P(fails in a day)", "forecasts", "said", "came", "95 %", ""):
        risks.add_column(column, justify="right" if column in ("forecasts", "said", "came") else "left")
    for band in came.risks:
        if band.came.of:
            risks.add_row(
                f"{band.low:.0%} to {band.high:.0%}",
                f"{band.came.of}",
                f"{band.mean_probability:.2%}",
                f"{band.came.count} ({band.came.share or 0:.2%})",
                f"{band.came.low:.2%} to {band.came.high:.2%}",
                "fits" if band.fits else "too high" if band.mean_probability > band.came.high else "too low",
            )
    out.print()
    out.print(risks)
    if came.risks_left_out:
        out.print(f"{came.risks_left_out} forecasts are left out: nobody can tell what came of them", markup=False)


def _counts(counts: Counts) -> str:
    return ", ".join(f"{number} {what}" for what, number in counts)


def _share(of: Share, what: str = "") -> str:
    named = f" {what}" if what else ""
    return "none yet" if of.share is None else f"{of.count} of {of.of}{named} ({of.low:.0%} to {of.high:.0%})"


def _ratio(ratio: Ratio) -> str:
    if ratio.median is None:
        return "none measured yet"
    return (
        f"{ratio.moves} measured, {ratio.median:.2f} of the estimate in the middle ({ratio.p10:.2f} to {ratio.p90:.2f}), "
        f"within 20 %: {_share(ratio.near)}"
    )
