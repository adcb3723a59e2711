"""`lifeboat approvals`, `show`, `approve`, `reject` and `snooze`: answer what lifeboat asks, from any terminal of its host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.options import ConfigOption, JsonOption
from agent.cli.terminal import completion

if TYPE_CHECKING:
    from rich.console import Console

    from models.policy.policy import Policy
    from models.proposals.states import EventKind, Proposal
    from tools.ports.clock import Clock
    from tools.ports.journal import Journal

app = typer.Typer(rich_markup_mode=None)

QuestionArgument = Annotated[
    str,
    typer.Argument(
        metavar="EVACUATION",
        help="Its id, as `lifeboat approvals` shows it.",
        autocompletion=completion.questions,
    ),
]
_MOST = 20


@app.command()
def approvals(
    every: Annotated[bool, typer.Option("--all", help="Also the newest that are decided.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the plans that wait for an answer."""
    from agent.approve.facts import facts, headline, state_line
    from agent.approve.proposals import open_questions, recent_questions
    from agent.cli.console import console, write_json

    journal, policy, clock = _open(config)
    listed = recent_questions(journal, clock, _MOST) if every else open_questions(journal, clock)
    journal.close()
    if as_json:
        write_json({"approvals": [facts(each, policy) for each in listed]})
        return
    out = console()
    if not listed:
        out.print("no plan waits for an answer")
    for each in listed:
        out.print(f"{each.id}  {headline(each, policy)}", markup=False, soft_wrap=True)
        out.print(f"  {state_line(each)}", markup=False, soft_wrap=True)


@app.command()
def show(
    evacuation: Annotated[
        str,
        typer.Argument(
            metavar="[EVACUATION]",
            help="Its id; not needed when only one waits for an answer.",
            autocompletion=completion.questions,
        ),
    ] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one plan that is or was put to people: why, what it would do, who may answer, what was decided."""
    from agent.approve.facts import full_facts
    from agent.approve.proposals import find
    from agent.cli.console import console, write_json

    journal, policy, clock = _open(config)
    try:
        proposal = find(journal, evacuation, clock)
    finally:
        journal.close()
    if as_json:
        write_json(full_facts(proposal, policy))
    else:
        _print(proposal, policy, console())


@app.command()
def approve(evacuation: QuestionArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Agree to a plan, as the account that is logged in here. `lifeboat run` then carries it out, once."""
    from models.proposals.states import EventKind

    _answer(EventKind.AGREE, evacuation, config, as_json)


@app.command()
def reject(
    evacuation: QuestionArgument,
    reason: Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Why; others read it.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reject a plan: it is not carried out, and its node is left alone for the policy's cooldown. Whoever asked for it takes it
    back so, also once others agreed."""
    from models.proposals.states import EventKind

    _answer(EventKind.REJECT, evacuation, config, as_json, why=reason)


@app.command()
def snooze(
    evacuation: QuestionArgument,
    duration: Annotated[str, typer.Option("--for", metavar="DURATION", help="Ask again after this long, such as 10m.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a question off: it is asked again then. It can still be answered meanwhile."""
    from models.base import parse_duration
    from models.errors import BadInput
    from models.proposals.states import EventKind

    try:
        length = parse_duration(duration)
    except ValueError as error:
        raise BadInput(f"--for: {error}", hint="such as 10m or 1h") from None
    if not length:
        raise BadInput("--for: expected longer than nothing", hint="such as 10m or 1h")
    _answer(EventKind.SNOOZE, evacuation, config, as_json, seconds=length.total_seconds())


def _open(config: Path | None) -> tuple[Journal, Policy, Clock]:
    """The journal, the policy of the settings (never another's: it says who may), and the clock."""
    from agent.documents import read_policy
    from agent.settings import load_settings
    from models.policy.policy import Policy
    from tools.clock import SystemClock
    from tools.journal import open_journal

    settings = load_settings(config)
    policy = read_policy(settings.policy_file) if settings.policy_file is not None else Policy()
    return open_journal(settings), policy, SystemClock()


def _answer(
    kind: EventKind, evacuation: str, config: Path | None, as_json: bool, *, why: str = "", seconds: float | None = None
) -> None:
    from datetime import timedelta

    from agent.approve.facts import facts, state_line
    from agent.approve.identity import terminal_identity
    from agent.approve.proposals import answer
    from agent.cli.console import console, write_json
    from models.proposals.states import ApprovalState

    journal, policy, clock = _open(config)
    off = timedelta(seconds=seconds) if seconds is not None else None
    try:
        proposal = answer(
            journal, evacuation, kind, by=terminal_identity(), policy=policy, clock=clock, why=why, off=off
        )
    finally:
        journal.close()
    if as_json:
        write_json(facts(proposal, policy))
        return
    out = console()
    out.print(f"{proposal.id}: {state_line(proposal)}", markup=False, soft_wrap=True)
    if proposal.state is ApprovalState.APPROVED:
        out.print(
            f"`lifeboat run` begins it at once, if it runs; until {proposal.expires_at:%H:%M:%S} UTC", markup=False
        )


def _print(proposal: Proposal, policy: Policy, out: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from agent.approve.facts import facts, headline, state_line
    from models.text import seconds_in_words

    question, plan = proposal.question, proposal.question.plan

    def say(line: str) -> None:
        out.print(Text(line), soft_wrap=True)

    out.print(Text.assemble((question.id, "bold"), f"  {headline(proposal, policy)}"), soft_wrap=True)
    say(f"  {state_line(proposal)}")
    for risk in question.risks:
        for driver in risk.drivers[:3]:
            say(f"  {risk.node}: {driver.why}")
    table = Table("vm", "what", "to", "pause", "takes", "why", box=None, padding=(0, 1))
    for action in plan.actions:
        row = (
            action.vm_name or action.vm,
            action.kind,
            action.target or "",
            seconds_in_words(action.estimated_downtime_seconds) if action.kind != "stay" else "",
            seconds_in_words(action.estimated_seconds) if action.kind != "stay" else "",
            action.reason,
        )
        table.add_row(*(Text(str(cell)) for cell in row))
    out.print(table)
    say(
        f"expected loss {plan.expected_loss:.3g} with it, {plan.expected_loss_if_nothing_is_done:.3g} if nothing is done"
    )
    say(f"planned by {plan.planned_by.planner}, asked by {question.requested_by}")
    if question.needs.people > 1:
        say(f"takes {question.needs.people} different people: {question.needs.why}")
    for change in question.changes:
        say(f"since {question.supersedes}: {change}")
    told: dict[str, Any] = facts(proposal, policy)
    say(f"may answer: {', '.join(told['may_answer']) or 'nobody'}{_later(told)}")
    if told["nobody_can"]:
        say(f"nobody can approve it: {told['nobody_can']}")


def _later(told: dict[str, Any]) -> str:
    more = [person for person in told["may_answer_later"] if person not in told["may_answer"]]
    return f"; from half of its time on also {', '.join(more)}" if more else ""
