"""`lifeboat rebalance` and `lifeboat archive --idle`: plans that nothing forces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from models.situation import Situation

app = typer.Typer(rich_markup_mode=None)


@app.command()
def rebalance(
    fleet_file: FleetOption = None,
    risks_file: RisksOption = None,
    policy_file: PolicyOption = None,
    report_file: ReportOption = None,
    output: OutputOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Plan a few live moves that spread load and risk, and judge them. A dry run: changes nothing; `apply` carries it out.

    Off unless policy says `rebalance: {allowed: true}`: exit code 3 otherwise, with what it would do.
    """
    from agent.cli.plan import present
    from agent.cli.situation import observed_or_read
    from agent.plan.leisure.rebalance import plan_rebalance

    situation = observed_or_read(fleet_file, risks_file, policy_file, config)
    present(situation, plan_rebalance(situation), report_file, output, as_json=as_json)


def archive_idle(
    idle: str,
    fleet_file: Path | None,
    risks_file: Path | None,
    policy_file: Path | None,
    report_file: Path | None,
    output: Path | None,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    """`lifeboat archive --idle 30d`. `idle` may ask for longer than policy does, never for less."""
    from agent.cli.plan import present
    from agent.cli.situation import observed_or_read
    from agent.plan.leisure.idle import plan_idle_archives
    from models.base import format_duration, parse_duration
    from models.errors import BadInput

    try:
        wanted = parse_duration(idle)
    except ValueError as error:
        raise BadInput(f"--idle: {error}", hint="such as 30d") from error
    situation = observed_or_read(fleet_file, risks_file, policy_file, config)
    policy = situation.policy
    if wanted < policy.idle.idle_for:
        raise BadInput(
            f"--idle {idle}: policy archives what is idle for {format_duration(policy.idle.idle_for)} at least",
            hint="idle.idle_for in the policy",
        )
    asked = policy.model_copy(update={"idle": policy.idle.model_copy(update={"idle_for": wanted})})
    situation = replace(situation, policy=asked)
    if fleet_file is None:
        situation = observed_idleness(situation, config)
    present(situation, plan_idle_archives(situation), report_file, output, as_json=as_json)


def observed_idleness(situation: Situation, config: Path | None) -> Situation:
    """With what Prometheus tells of guests' processors. Raises BadInput without one, and MetricsUnavailable."""
    from agent.cli.console import note
    from agent.observe.idleness import how_told, with_idleness
    from agent.settings import load_settings
    from models.errors import BadInput
    from tools.prometheus.guests import PrometheusGuests

    prometheus = load_settings(config).prometheus
    if prometheus is None:
        raise BadInput("nobody can tell which guests are idle", hint="set `prometheus.url` in the settings")
    loads = PrometheusGuests(
        prometheus.url,
        node_label=prometheus.node_label,
        timeout_seconds=prometheus.timeout_seconds,
        headers=prometheus.headers,
    )
    idle = situation.policy.idle
    note(how_told(idle.idle_for))
    fleet = with_idleness(situation.fleet, loads, idle_for=idle.idle_for, busy_above=idle.busy_above, now=situation.now)
    return replace(situation, fleet=fleet)
