"""`lifeboat assess`: each node's risk now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from agent.assess.tiers import TierChange
    from agent.observe.observation import Observation
    from agent.settings import Settings
    from models.risk.risk import Risk
    from models.risk.tier import Tier

app = typer.Typer(rich_markup_mode=None)


@app.command()
def assess(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", envvar="LIFEBOAT_CONFIG", help="Settings; default lifeboat.yaml, then /etc/lifeboat."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The risks (risks.json) on standard output, nothing else there.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the risks to this file, too.")] = None,
    all_drivers: Annotated[bool, typer.Option("--drivers", help="Show every driver, not only the strongest.")] = False,
    evidence: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Judge this folder (docs/field.md) instead of the live sources.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="With --evidence: the moment to judge, RFC 3339; default the newest in it."),
    ] = None,
    policy_file: Annotated[
        Path | None, typer.Option("--policy", help="With --evidence: the policy; default the careful one.")
    ] = None,
) -> None:
    """Show how likely each node is to fail within 30 minutes, 2 hours, a day and a week, and why."""
    from models.errors import BadInput

    if evidence is not None:
        _assess_evidence(evidence, at, policy_file, config, output, as_json=as_json)
        return
    from agent.assess.monitor import FleetMonitor
    from agent.cli.console import console, note, write_json
    from agent.settings import load_settings
    from models.risk.tier import Tier
    from models.text import visible
    from tools.libvirt.fleet import connect_nodes

    if at is not None or policy_file is not None:
        raise BadInput(
            "--at and --policy belong to --evidence", hint="leave them out, or name a folder with --evidence"
        )
    settings = load_settings(config)
    if settings.prometheus is None:
        raise BadInput("no telemetry is configured", hint="set `prometheus.url` in the settings")
    nodes = dict(connect_nodes(settings))
    monitor = FleetMonitor(settings, dict(nodes))
    try:
        monitor.learned.check()
        observation = monitor.observe()
    finally:
        monitor.close()
        for node in nodes.values():
            node.close()
    for failed in observation.unread:
        if failed.what == "metrics":
            raise failed.error
    risks = monitor.assess(observation)
    if output is not None:
        _write(output, [risk.model_dump(mode="json") for risk in risks])
    if as_json:
        write_json([risk.model_dump(mode="json") for risk in risks])
        return
    for vm, places in observation.duplicate_vms:
        note(f"lifeboat: vm {vm.name!r} is running on {' and '.join(places)} at once: stop one copy by hand")
    screen = console()
    judged = node_tiers(settings, observation, risks)
    screen.print(risk_table(observation, risks, {node: one.now.tier for node, one in judged.items()}))
    for node, one in judged.items():
        if one.now.tier is not Tier.WATCH and one.warranted.known:
            held = f", held as {one.now.tier}" if one.now.tier is not one.warranted.tier else ""
            hint = (
                f"; `lifeboat plan {visible(node)}` shows how"
                if one.warranted.tier in (Tier.DRAIN, Tier.EVACUATE)
                else ""
            )
            screen.print(f"{visible(node)}: {one.warranted.tier}{held}: {one.now.why}{hint}", markup=False)
    shown = None if all_drivers else 3
    for risk in risks:
        for driver in risk.drivers[:shown]:
            screen.print(f"{visible(risk.node)}: {visible(driver.why)}", markup=False)
        if risk.misfit:
            screen.print(f"{visible(risk.node)}: {visible(risk.misfit)}", style="yellow", markup=False)
        if risk.unknown:
            more = f"; {len(risk.unknown) - 3} more (--drivers)" if shown and len(risk.unknown) > 3 else ""
            unknowns = "; ".join(visible(line) for line in risk.unknown[:shown])
            screen.print(f"{visible(risk.node)}: unknown: {unknowns}{more}", style="yellow", markup=False)
    grounds: dict[str, list[str]] = {}
    for risk in risks:
        grounds.setdefault(f"{risk.model}: {risk.basis}.", []).append(risk.node)
    for ground, of in grounds.items():
        whose = f"{', '.join(visible(node) for node in of)}: " if len(grounds) > 1 else ""
        screen.print(f"{whose}{ground}", style="dim", markup=False)


def _assess_evidence(
    directory: Path,
    at: str | None,
    policy_file: Path | None,
    config: Path | None,
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    from agent.assess.evidence import judge_evidence
    from agent.cli.console import console, write_json
    from agent.documents import read_policy
    from agent.settings import load_settings
    from models.policy.policy import Policy
    from models.text import visible

    policy = read_policy(policy_file) if policy_file is not None else Policy()
    signals_file = load_settings(config).signals_file if config is not None else None
    judged = judge_evidence(directory, policy, at=_moment(at), signals_file=signals_file)
    if output is not None:
        _write(output, judged)
    if as_json:
        write_json(judged)
        return
    screen = console()
    screen.print(f"as of {judged['at']}", markup=False)
    for row in judged["nodes"]:
        name = visible(row["node"])
        screen.print(f"{name}: {row['tier']}: {visible(row['why'], 200)}", markup=False)
        for driver in row["drivers"]:
            screen.print(f"{name}: {visible(driver['why'])}", markup=False)
        for line in row["unknown"]:
            screen.print(f"{name}: unknown: {visible(line, 300)}", style="yellow", markup=False)


def _moment(text: str | None) -> datetime | None:
    from datetime import UTC, datetime

    from models.errors import BadInput

    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"--at {text!r} is no time", hint="give it as 2026-11-20T12:00:00Z") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def node_tiers(settings: Settings, observation: Observation, risks: list[Risk]) -> dict[str, TierChange]:
    """Each node's tier after this observation, from where the background agent's journal left it. Records nothing."""
    from agent.assess.tiers import Tiers
    from agent.documents import read_policy
    from models.policy.policy import Policy
    from models.situation import Situation
    from tools.journal import open_existing_journal

    policy = read_policy(settings.policy_file) if settings.policy_file is not None else Policy()
    tiers = Tiers()
    journal = open_existing_journal(settings)
    if journal is not None:
        tiers = Tiers.restored(policy, journal, observation.at)
        journal.close()
    return tiers.judge(Situation(fleet=observation.fleet, risks=risks, policy=policy, now=observation.at))


def risk_table(observation: Observation, risks: list[Risk], tiers: dict[str, Tier]) -> Table:
    """One row per node."""
    from rich.table import Table
    from rich.text import Text

    from models.risk.risk import HORIZONS
    from models.text import percent, visible

    simulated = any(risk.simulated for risk in risks)
    title = "P(the node fails within …)" + (" — SIMULATED telemetry" if simulated else "")
    table = Table(title=title, title_justify="left")
    table.add_column("node")
    table.add_column("state")
    for horizon in HORIZONS:
        table.add_column(horizon, justify="right")
    table.add_column("data age", justify="right")
    table.add_column("tier")
    for risk in risks:
        unknown = risk.data_age_seconds is None
        figures = [
            Text("unknown", style="yellow") if unknown else Text(percent(p), style=_style(p))
            for p in (risk.probability[h] for h in HORIZONS)
        ]
        age = "no data" if risk.data_age_seconds is None else f"{risk.data_age_seconds:.0f} s"
        state = observation.fleet.node_by_name[risk.node].state.value
        tier = tiers[risk.node]
        shown = Text(tier.value, style="yellow" if tier.value != "watch" else "")
        table.add_row(Text(visible(risk.node)), state, *figures, Text(age, style="yellow" if unknown else ""), shown)
    return table


def _style(probability: float) -> str:
    return "red bold" if probability >= 0.5 else "yellow" if probability >= 0.1 else ""


def _write(path: Path, content: object) -> None:
    import json

    from models.errors import BadInput
    from tools.atomic_file import write_atomically

    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    try:
        write_atomically(path, text, mode=None)
    except OSError as error:
        raise BadInput(
            f"risks file {path}: {error.strerror or error}", hint="give a path that can be written"
        ) from error
