"""`lifeboat plan`, `guard` and `schema`: decide and judge, change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import (
    ConfigOption,
    FleetOption,
    JsonOption,
    OutputOption,
    PolicyOption,
    ReportOption,
    RisksOption,
)
from agent.cli.situation import as_of, planner_for, remarks, require_node, seen
from agent.cli.terminal import completion

if TYPE_CHECKING:
    from rich.table import Table

    from models.plan import Plan, Verdict
    from models.planning.simulation import Simulation
    from models.policy.policy import Policy
    from models.situation import Situation

app = typer.Typer(rich_markup_mode=None)

NowOption = Annotated[
    str | None,
    typer.Option("--now", metavar="TIME", help="Judge files as of this time (RFC 3339); default: their own time."),
]


@app.command()
def plan(
    nodes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NODE]...", help="Evacuate these nodes, whatever their risk.", autocompletion=completion.nodes
        ),
    ] = None,
    fleet_file: FleetOption = None,
    risks_file: RisksOption = None,
    policy_file: PolicyOption = None,
    planner: Annotated[
        str,
        typer.Option(
            metavar="solver|llm", help="Who proposes; the guard judges both.", autocompletion=completion.planners
        ),
    ] = "solver",
    report_file: ReportOption = None,
    output: OutputOption = None,
    now: NowOption = None,
    config: ConfigOption = None,
    knowledge_file: Annotated[
        Path | None,
        typer.Option("--knowledge", metavar="F", help="What a language model is told besides (`schema knowledge`)."),
    ] = None,
    simulate: Annotated[
        int | None,
        typer.Option(
            metavar="RUNS", min=1, max=100_000, help="Play it in so many imagined futures, beside other ways."
        ),
    ] = None,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Put nothing off to a maintenance window or a quiet hour.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the report as Markdown, for a ticket.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Plan what to do now and judge it: the plan, and the guard's verdict on it. A dry run: changes nothing.

    With --fleet (and --risks) it works from files alone, as of their own time. Exit code 3 when the guard refuses the plan.
    """
    from agent.cli.when import with_better_times
    from models.errors import BadInput

    if markdown and as_json:
        raise BadInput("--markdown and --json are both asked for", hint="choose one")
    if planner not in ("solver", "llm"):
        raise BadInput(f"--planner {planner!r} is not known", hint="solver or llm")
    found = seen(
        fleet_file,
        risks_file,
        policy_file,
        config,
        now=now,
        knowledge_file=knowledge_file,
        everything=planner == "llm",
    )
    situation = with_better_times(found.situation, nodes or (), config, at_once=at_once, live=fleet_file is None)
    fleet = situation.fleet
    chosen = planner_for(planner, config, found.knowledge)
    requested = tuple(dict.fromkeys(nodes or ()))
    for node in requested:
        require_node(node, fleet)
    proposed = chosen(situation, asked=requested)
    futures = _simulated(situation, proposed, simulate)
    present(situation, proposed, report_file, output, futures=futures, as_json=as_json, markdown=markdown)


def present(
    situation: Situation,
    made: Plan,
    report_file: Path | None,
    output: Path | None,
    *,
    futures: Simulation | None = None,
    as_json: bool = False,
    markdown: bool = False,
) -> None:
    """Judge a plan, write it where `output` says, and show it with the verdict. Exit code 3 when the guard refuses it."""
    from agent.documents import write_value
    from agent.guard.judge import judge

    verdict = judge(made, situation)
    if output is not None:
        write_value(output, made)
    show_plan(situation, made, verdict, report_file, futures=futures, as_json=as_json, markdown=markdown)


def show_plan(
    situation: Situation,
    plan: Plan,
    verdict: Verdict,
    report_file: Path | None,
    *,
    futures: Simulation | None = None,
    as_json: bool,
    markdown: bool = False,
) -> None:
    """Print a plan and its verdict, write its report; raises PlanRefused when the guard refuses it."""
    from models.errors import PlanRefused

    if report_file is not None:
        _write_page(report_file, situation, plan, verdict, futures)
    _print_plan(situation, plan, verdict, futures, as_json=as_json, markdown=markdown)
    if not verdict.passed:
        failed = verdict.failures
        raise PlanRefused(
            f"the guard refuses the plan: {failed[0].rule}: {failed[0].why}"
            + (f"; {len(failed) - 1} more" if failed[1:] else ""),
            hint="nothing was changed",
        )


@app.command()
def guard(
    plan_file: Annotated[Path | None, typer.Argument(metavar="PLAN", help="Any plan, ours or not.")] = None,
    fleet_file: Annotated[Path | None, typer.Option("--fleet", metavar="F", help="The fleet.json it is for.")] = None,
    risks_file: RisksOption = None,
    policy_file: PolicyOption = None,
    now: NowOption = None,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="What a rule holds, why, and what sets it; `all`: every rule. Needs no PLAN.",
            autocompletion=completion.rules,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a plan: every rule, pass or fail, and why. Exit code 3 when the plan is refused."""
    from agent.cli.console import console, note, write_json
    from agent.documents import read_fleet, read_plan, read_policy, read_risks
    from agent.guard.judge import judge
    from models.errors import BadInput, PlanRefused
    from models.policy.policy import Policy
    from models.situation import Situation
    from models.text import counted

    policy = Policy() if policy_file is None else read_policy(policy_file)
    if explain is not None:
        if plan_file is not None:
            raise BadInput("--explain tells of rules, not of a plan", hint="leave PLAN out, or --explain")
        _print_rules(explain, policy, as_json=as_json)
        return
    if plan_file is None or fleet_file is None:
        missing = "PLAN" if plan_file is None else "--fleet F"
        raise BadInput(
            f"{missing} is missing", hint="`lifeboat guard PLAN --fleet F`, or `lifeboat guard --explain RULE`"
        )
    fleet = read_fleet(fleet_file)
    plan = read_plan(plan_file, fleet)
    risks = None if risks_file is None else read_risks(risks_file)
    at = as_of(now, fleet, risks or [])
    for line in remarks(fleet, risks or [], risks_given=True):
        note(f"note: {line}")
    verdict = judge(plan, Situation(fleet=fleet, risks=risks, policy=policy, now=at))
    if as_json:
        write_json(verdict)
    else:
        console().print(verdict_table(verdict, every_rule=True))
        _print_approval(verdict)
    if not verdict.passed:
        rules = ", ".join(result.rule for result in verdict.failures)
        raise PlanRefused(
            f"the plan breaks {counted(len(verdict.failures), 'rule')}: {rules}", hint="nothing was changed"
        )


@app.command()
def schema(
    name: Annotated[str, typer.Argument(metavar="|".join(completion.SCHEMAS), autocompletion=completion.schemas)],
    as_json: Annotated[bool, typer.Option("--json", help="It always is.")] = True,
) -> None:
    """Print the JSON Schema of one kind of file."""
    from agent.cli.console import write_json
    from agent.documents import json_schema

    del as_json
    write_json(json_schema(name))


def _print_rules(rule: str, policy: Policy, *, as_json: bool) -> None:
    from agent.cli.console import console, write_json
    from agent.cli.terminal.explanations import print_rule
    from agent.guard.explain import explain, explain_all

    if as_json:
        told = explain_all(policy) if rule == "all" else [explain(rule, policy)]
        write_json({"rules": [one.model_dump(mode="json") for one in told]})
        return
    out = console()
    for one in explain_all(policy) if rule == "all" else [explain(rule, policy)]:
        print_rule(one, out)


def verdict_table(verdict: Verdict, *, every_rule: bool) -> Table:
    """The rules, each with what it found; without `every_rule` only those that failed or were not judged."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from models.text import visible

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for column in ("rule", "verdict", "found"):
        table.add_column(column, no_wrap=column != "found")
    for result in sorted(verdict.results, key=lambda r: (r.passed, r.judged)):
        if not result.passed:
            word, style, why_style = "refused", "bold red", ""
        elif not result.judged:
            word, style, why_style = "not judged", "yellow", ""
        elif every_rule:
            word, style, why_style = "kept", "green", "dim"
        else:
            continue
        table.add_row(Text(result.rule), Text(word, style=style), Text(visible(result.why, 400), style=why_style))
    return table


def _print_approval(verdict: Verdict) -> None:
    from rich.text import Text

    from agent.cli.console import console
    from models.plan import Approval
    from models.text import visible

    if not verdict.passed:
        return
    if verdict.approval is Approval.HUMAN:
        console().print(Text(f"\nA human has to agree: {visible(verdict.approval_why, 400)}", style="yellow"))
    else:
        console().print(Text("\nPolicy itself approves it.", style="green"))


def _simulated(situation: Situation, plan: Plan, runs: int | None) -> Simulation | None:
    from agent.plan.simulate import simulate

    return None if runs is None else simulate(situation, plan, runs=runs)


def _write_page(path: Path, situation: Situation, plan: Plan, verdict: Verdict, futures: Simulation | None) -> None:
    from agent.cli.console import note
    from agent.report import build_report, write_report
    from models.errors import BadInput

    try:
        write_report(build_report(situation, plan, verdict, now=situation.now, simulation=futures), path)
    except OSError as error:
        raise BadInput(
            f"can't write {path}: {error.strerror or error}", hint="name a place that can be written"
        ) from error
    note(f"report: {path}")


def _print_plan(
    situation: Situation, plan: Plan, verdict: Verdict, futures: Simulation | None, *, as_json: bool, markdown: bool
) -> None:
    from agent.cli.console import console, write_json

    if as_json:
        # Readable as a plan by `guard` and `apply`, with the verdict beside it.
        simulated = {} if futures is None else {"simulation": futures.model_dump(mode="json")}
        write_json({**plan.model_dump(mode="json"), "verdict": verdict.model_dump(mode="json"), **simulated})
        return
    from agent.report import build_report, render_markdown, render_terminal

    report = build_report(situation, plan, verdict, now=situation.now, simulation=futures)
    if markdown:
        print(render_markdown(report), end="")  # noqa: T201
        return
    out = console()
    render_terminal(report, out)
    if not verdict.passed:
        out.print()
        out.print(verdict_table(verdict, every_rule=False))
