"""`lifeboat return NODE`: what comes back to a node that was repaired."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import ConfigOption, JsonOption, OutputOption, PolicyOption, ReportOption, RisksOption
from agent.cli.terminal import completion

if TYPE_CHECKING:
    from models.fleet import Fleet

app = typer.Typer(rich_markup_mode=None)


@app.command("return")
def give_back(
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="The node that was repaired.", autocompletion=completion.nodes)
    ],
    emptied_by: Annotated[
        Path | None,
        typer.Option("--from", metavar="PLAN", help="The plan that emptied it, in place of the journal's evacuations."),
    ] = None,
    fleet_file: Annotated[
        Path | None,
        typer.Option("--fleet", metavar="F", help="fleet.json, in place of observing the nodes; needs --from."),
    ] = None,
    risks_file: RisksOption = None,
    policy_file: PolicyOption = None,
    report_file: ReportOption = None,
    output: OutputOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Plan what comes back to a node that is sound again, and judge it. A dry run: changes nothing; `apply` carries it out.

    The vms that lifeboat moved off it and that nobody moved on since; running ones live, stopped ones cold. What was archived
    comes back with `lifeboat archive restore`. Exit code 3 when the guard refuses the plan.
    """
    from agent.cli.plan import present
    from agent.cli.situation import observed_or_read, require_node
    from agent.plan.leisure.give_back import plan_return
    from models.errors import BadInput

    if fleet_file is not None and emptied_by is None:
        raise BadInput("--fleet without --from", hint="name the plan that emptied the node")
    situation = observed_or_read(fleet_file, risks_file, policy_file, config)
    require_node(node, situation.fleet)
    gone = _gone(node, emptied_by, situation.fleet, config)
    if not gone:
        raise BadInput(f"nothing is known to have left {node}", hint="give the plan that emptied it: --from PLAN")
    present(situation, plan_return(node, gone, situation), report_file, output, as_json=as_json)


def _gone(node: str, emptied_by: Path | None, fleet: Fleet, config: Path | None) -> dict[str, str]:
    from agent.documents import read_plan
    from agent.plan.leisure.give_back import went_to

    if emptied_by is not None:
        plan = read_plan(emptied_by, fleet)
        return went_to(node, [(action.vm, action.source, action.target) for action in plan.moves])
    from agent.settings import load_settings
    from models.evacuation import AttemptOutcome
    from tools.journal import open_existing_journal
    from tools.ports.records.attempts import AttemptEnded

    journal = open_existing_journal(load_settings(config))
    if journal is None:
        return {}
    try:
        ended = [entry.record.attempt for entry in journal.of(AttemptEnded)]
    finally:
        journal.close()
    done = [attempt.action for attempt in ended if attempt.outcome is AttemptOutcome.DONE]
    return went_to(node, [(action.vm, action.source, action.target) for action in done])
