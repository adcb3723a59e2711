"""`lifeboat breaker`: what stops lifeboat until a person has looked, and how they let it go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from models.past_moves import Tripped

breaker = typer.Typer(
    rich_markup_mode=None,
    invoke_without_command=True,
    help="Show the breaker that stops lifeboat after a storm or a day's cap, and reset it.",
)


@breaker.callback()
def show(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show whether the breaker is tripped, and how much moved within a day."""
    if context.invoked_subcommand is not None:
        return
    from agent.cli.console import console, write_json
    from agent.settings import load_settings
    from agent.state.brake import past_moves
    from models.past_moves import Mover, PastMoves
    from models.text import counted
    from tools.clock import SystemClock
    from tools.journal import open_existing_journal

    journal = open_existing_journal(load_settings(config))
    past = PastMoves()
    if journal is not None:
        past = past_moves(journal, SystemClock().now())
        journal.close()
    if as_json:
        write_json(past)
        return
    out = console()
    out.print(tripped_line(past.tripped) if past.tripped else "not tripped", markup=False, soft_wrap=True)
    own = [move for move in past.moves if move.by is Mover.LIFEBOAT]
    others = len(past.moves) - len(own)
    nodes = {move.source for move in own if move.emptied}
    moved = f"within a day: {counted(len(nodes), 'node')} emptied, {counted(len(own), 'vm')} moved by lifeboat"
    out.print(f"{moved}, {others} by others", markup=False, soft_wrap=True)


@breaker.command()
def reset(
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="What you found; kept in the journal.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let lifeboat go on, in your name. The caps of the day count from now; what was moved before still cools down.

    Where policy names approvers, only they may.
    """
    from agent.approve.identity import terminal_identity
    from agent.cli.console import console, write_json
    from agent.documents import read_policy
    from agent.settings import load_settings
    from agent.state.brake import reset as reset_breaker
    from models.errors import NotAnApprover
    from models.policy.policy import Policy
    from models.proposals.rights import person_of
    from models.text import visible
    from tools.clock import SystemClock
    from tools.journal import open_journal

    settings, by = load_settings(config), terminal_identity()
    policy = read_policy(settings.policy_file) if settings.policy_file is not None else Policy()
    if policy.approval.approvers and person_of(by, policy.approval) is None:
        raise NotAnApprover(
            f"{visible(by, 60)} can't reset the breaker: none of policy's people", hint="nothing was changed"
        )
    journal = open_journal(settings)
    try:
        was = reset_breaker(journal, by=by, why=visible(why, 300), now=SystemClock().now())
    finally:
        journal.close()
    if as_json:
        write_json({"reset_by": by, "was": was.model_dump(mode="json")})
    else:
        console().print(f"reset by {by}; it {tripped_line(was)}", markup=False, soft_wrap=True)


def tripped_line(tripped: Tripped) -> str:
    """When and why, in one line."""
    from models.text import moment, visible

    return f"tripped at {moment(tripped.at)} by {tripped.rule}: {visible(tripped.why, 400)}"
