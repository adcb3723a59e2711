"""`lifeboat run`: the background agent."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import ConfigOption, PolicyOption

if TYPE_CHECKING:
    from collections.abc import Generator

    from agent.service.control_loop import PassResult
    from agent.service.session import Session

app = typer.Typer(rich_markup_mode=None)


@app.command()
def run(
    config: ConfigOption = None,
    policy_file: PolicyOption = None,
    once: Annotated[bool, typer.Option("--once", help="Make one pass, then end.")] = False,
    planner: Annotated[str, typer.Option(help="solver or llm")] = "solver",
) -> None:
    """Run the background agent: observe, plan and act as far as policy allows, pass after pass.

    What a person has to agree to it asks (`lifeboat approvals`), and carries out once they have.
    """
    from agent.approve.approvers import DenyingApprover
    from agent.service.control_loop import ControlLoop
    from agent.service.hindsight import HindsightKeeper
    from agent.service.questions import Questions
    from agent.service.retraining import Retraining
    from agent.service.scheduler import log_watcher, serve
    from agent.service.session import connect
    from agent.settings import load_settings

    settings = load_settings(config)
    with connect(settings, policy_file, planner=planner, keep_ring=True) as session:
        cycle = ControlLoop(
            hands=session.hands,
            policy=session.policy,
            look=session.look,
            planner=session.planner,
            approver=DenyingApprover(),
            watcher=log_watcher(),
            carry_out=session.durable.execute,
            questions=Questions(hands=session.hands, policy=session.policy),
            hindsight=HindsightKeeper(session.hands.journal),
            look_again=settings.interval,
        )
        with shown_in_slack(session), open_to_other_systems(session):
            serve(
                cycle,
                recover=lambda: session.durable.recover(session.hands, session.policy, session.look, cycle.watcher),
                interval=settings.interval,
                on_pass=lambda result: keep_report(result, session),
                retraining=Retraining(settings, session.hands.clock) if settings.forecast.retrain is not None else None,
                once=once,
            )


@contextmanager
def shown_in_slack(session: Session) -> Generator[None]:
    """For as long as the block runs, questions are in Slack as well, where the settings name one. Raises BadInput."""
    if session.settings.slack is None:
        yield
        return
    from agent.approve.slack.connect import open_slack
    from agent.approve.slack.view import SlackView

    view = SlackView(open_slack(session.settings.slack), session.hands.journal, session.policy, session.hands.clock)
    with view.running():
        yield


@contextmanager
def open_to_other_systems(session: Session) -> Generator[None]:
    """For as long as the block runs, signed answers are taken, where the settings say so. Raises BadInput."""
    settings = session.settings.webhook
    if settings is None:
        yield
        return
    from agent.approve.webhook import Webhook
    from agent.service.webhook_server import read_secrets, serving

    hands = session.hands
    webhook = Webhook(journal=hands.journal, policy=session.policy, clock=hands.clock, secrets=read_secrets(settings))
    with serving(webhook, settings.port):
        yield


def keep_report(result: PassResult, session: Session) -> None:
    """Write the report of a pass that planned something to `state_dir/reports`; not when another lifeboat was at work, or
    when it came to the same as the one before."""
    from models.errors import Busy

    if result.plan is None or result.repeated or isinstance(result.refusal, Busy):
        return
    from agent.cli.outcome import report_of
    from agent.report import write_html

    name = result.evacuation.id if result.evacuation else f"plan-{result.started_at:%Y%m%dT%H%M%SZ}"
    path = session.settings.state_dir / "reports" / f"{name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_html(report_of(result, session), path)
