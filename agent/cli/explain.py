"""`lifeboat explain`: what a code means and what to do; or which answers led to a plan, from the record of what was said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.options import ConfigOption, JsonOption, PolicyOption
from agent.cli.terminal import completion

if TYPE_CHECKING:
    from agent.llm.record import ConversationRecord
    from agent.settings import Settings
    from models.errors import BadInput
    from models.plan import Plan

app = typer.Typer(rich_markup_mode=None)


@app.command()
def explain(
    name: Annotated[
        str,
        typer.Argument(
            metavar="CODE|PLAN",
            autocompletion=completion.explained,
            help="An error code, exit code, rule or kind of journal record; or a plan file, or the id of an evacuation.",
        ),
    ],
    replay: Annotated[
        bool, typer.Option("--replay", help="Run the conversation again from its record, and compare the plans.")
    ] = False,
    fleet_file: Annotated[Path | None, typer.Option("--fleet", metavar="F", help="For --replay: as then.")] = None,
    risks_file: Annotated[Path | None, typer.Option("--risks", metavar="F", help="For --replay: as then.")] = None,
    policy_file: PolicyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what a code means, what is left in which state and what to do; or how a plan came about.

    Of a plan: who made it, what a language model asked and was told, and why each vm goes where. Exit code 1 when a replay
    brings another plan.
    """
    if not Path(name).is_file() and not replay and _tell_of_name(name, policy_file, as_json=as_json):
        return
    from agent.cli.console import console, write_json
    from agent.llm.record import LlmDirectory, steps
    from agent.settings import load_settings
    from models.errors import BadInput
    from tools.llm.capabilities import LLM_DIRECTORY

    try:
        settings = load_settings(config)
    except BadInput:
        if Path(name).exists():
            raise
        raise _unknown(name) from None  # without settings no evacuation is meant
    plan = _plan(name, settings)
    by = plan.planned_by
    record = None
    if by.conversation_sha256 is not None:
        record = LlmDirectory(settings.state_dir / LLM_DIRECTORY).read(by.conversation_sha256)
    again: bool | None = None
    if replay:
        if record is None:
            raise BadInput("no conversation led to this plan", hint="--replay is for plans of a language model")
        if fleet_file is None:
            raise BadInput("--replay needs --fleet", hint="and --risks and --policy as they were")
        again = _replayed(plan, record, fleet_file, risks_file, policy_file)
    if as_json:
        told: dict[str, Any] = {
            "planned_by": by.model_dump(mode="json"),
            "actions": [_action(action) for action in plan.model_dump(mode="json")["actions"]],
            "conversation": None if record is None else [step.model_dump() for step in steps(record)],
            "same_when_replayed": again,
        }
        write_json(told)
    else:
        _print(plan, record, again, console())
    if again is False:
        raise typer.Exit(1)


def _tell_of_name(name: str, policy_file: Path | None, *, as_json: bool) -> bool:
    """Print what has this name; whether anything has."""
    from agent.cli.console import console, write_json
    from agent.cli.known_names import look_up
    from agent.cli.terminal.explanations import print_explained, print_rule
    from agent.documents import read_policy
    from agent.guard.explain import explain as explain_rule
    from agent.guard.rules import RULES
    from models.policy.policy import Policy

    found = look_up(name)
    rule = None
    if any(each.id == name for each in RULES):
        rule = explain_rule(name, read_policy(policy_file) if policy_file is not None else Policy())
    if as_json and (found or rule):
        write_json(
            {
                "names": [one.model_dump(mode="json") for one in found],
                "rules": [rule.model_dump(mode="json")] if rule else [],
            }
        )
    elif found or rule:
        out = console()
        for one in found:
            print_explained(one, out)
        if rule is not None:
            print_rule(rule, out)
    return bool(found or rule)


def _plan(name: str, settings: Settings) -> Plan:
    from agent.documents import read_plan
    from tools.journal import open_existing_journal
    from tools.ports.records.evacuations import EvacuationPlanned

    if Path(name).exists():
        return read_plan(Path(name))
    journal = open_existing_journal(settings)
    if journal is not None:
        try:
            for entry in journal.of(EvacuationPlanned, evacuation=name):
                return entry.record.plan
        finally:
            journal.close()
    raise _unknown(name)


def _unknown(name: str) -> BadInput:
    from agent.cli.known_names import names_like
    from agent.guard.rules import RULES
    from models.errors import BadInput

    near = names_like(name, [rule.id for rule in RULES])
    hint = (
        f"did you mean {' or '.join(near)}?" if near else "docs/reference has all; `lifeboat status` names evacuations"
    )
    return BadInput(
        f"{name!r} is no code, rule or kind of record, and neither a plan file nor an evacuation", hint=hint
    )


def _replayed(plan: Plan, record: ConversationRecord, fleet: Path, risks: Path | None, policy: Path | None) -> bool:
    """Whether the recorded answers bring the same moves again, from the same files."""
    from agent.documents import read_fleet, read_policy, read_risks
    from agent.llm.planner import propose
    from agent.llm.record import Playback
    from agent.settings import LlmSettings
    from models.errors import BadInput, PlannerFailed
    from models.policy.policy import Policy
    from models.situation import Situation

    situation = Situation(
        fleet=read_fleet(fleet),
        risks=read_risks(risks) if risks else [],
        policy=read_policy(policy) if policy else Policy(),
        now=plan.created_at,
    )
    llm = LlmSettings.model_validate(
        {"base_url": record.base_url, "model": record.model, "interface": record.interface or "auto"}
    )
    playback = Playback(record)
    try:
        made = propose(
            situation, llm, plan.evacuating, asked=plan.asked, knowledge=record.knowledge, transport=playback
        )
    except PlannerFailed as error:
        if playback.differs is not None:
            raise BadInput(f"the conversation can't be replayed: {playback.differs}") from error
        return plan.planned_by.planner == "solver"  # none came of it then, either
    return [(a.vm, a.kind, a.target) for a in made.actions] == [(a.vm, a.kind, a.target) for a in plan.actions]


def _action(action: dict[str, Any]) -> dict[str, Any]:
    return {name: action[name] for name in ("vm", "vm_name", "kind", "source", "target", "reason")}


def _print(plan: Plan, record: ConversationRecord | None, again: bool | None, console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from agent.llm.record import steps
    from models.text import visible

    by = plan.planned_by
    who = f"the language model {visible(by.model or 'of unknown name', 60)}" if by.planner == "llm" else by.planner
    console.print(
        Text.assemble("Planned by ", (visible(who, 80), "bold"), f" at {plan.created_at:%Y-%m-%d %H:%M:%S} UTC")
    )
    if by.fallback_reason:
        console.print(Text(f"It stands in, because {visible(by.fallback_reason, 400)}"))
    if by.notes:
        console.print(Text(visible(by.notes, 600)))
    console.print()
    for action in plan.actions:
        where = f"{action.kind.value} to {visible(action.target, 60)}" if action.target else action.kind.value
        line = f"  {visible(action.vm_name or action.vm, 60)}: {where}: {visible(action.reason, 300)}"
        console.print(Text(line), soft_wrap=False)
    if record is not None:
        form = f", asked by {record.interface}" if record.interface else ""
        console.print(
            Text(f"\nWhat was said with {visible(record.model, 60)} at {visible(record.base_url, 80)}{form}:")
        )
        story = Table.grid(padding=(0, 1))
        for step in steps(record):
            style = "bold" if step.who == "model" else ""
            story.add_row(Text(f"  {step.who}", style), Text(visible(step.what, 500)))
        console.print(story)
    if again is not None:
        console.print(Text("Replayed: the same plan" if again else "Replayed: ANOTHER plan", style="bold"))
