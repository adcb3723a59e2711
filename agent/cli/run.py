"""`lifeboat run`: the background agent."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import ConfigOption, PolicyOption
from agent.cli.terminal import completion

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from agent.service.control_loop import PassResult
    from agent.service.observability.observability import Observability
    from agent.service.scheduler import Ended
    from agent.service.session import Session
    from agent.service.upkeep.jobs import JobCounts
    from agent.settings import Settings
    from models.risk.tier import Tier
    from models.situation import Situation
    from tools.service_manager import ServiceManager
    from tools.slack.client import SlackChat

_SWITCH_SECONDS = 0.0005
"""How long a thread goes on where another waits for its turn: Python's own 5 ms are waited for after each read of the journal or
of a socket, and a scrape of the metrics beside a pass has a dozen of these."""

app = typer.Typer(rich_markup_mode=None)


@app.command()
def run(
    config: ConfigOption = None,
    policy_file: PolicyOption = None,
    once: Annotated[bool, typer.Option("--once", help="Make one pass, then end.")] = False,
    planner: Annotated[
        str, typer.Option(metavar="solver|llm", help="Who plans.", autocompletion=completion.planners)
    ] = "solver",
) -> None:
    """Run the background agent: observe, plan and act as far as policy allows, pass after pass.

    What a person has to agree to it asks (`lifeboat approvals`), and carries out once they have. SIGHUP has it read its files
    anew between two passes. While there is a file STOP in state_dir nothing is begun.
    """
    from agent.service.scheduler import Ended
    from agent.settings import Settings, settings_path
    from tools.memory import share_one_arena
    from tools.service_manager import ServiceManager

    share_one_arena()
    sys.setswitchinterval(_SWITCH_SECONDS)
    path, manager = settings_path(config), ServiceManager()
    if manager.watches:
        import faulthandler

        faulthandler.enable()  # ended because it hangs, it says where
    while _serve(Settings.load(path), path, policy_file, manager, planner=planner, once=once) is Ended.RELOADING:
        pass


def _serve(
    settings: Settings, path: Path, policy_file: Path | None, manager: ServiceManager, *, planner: str, once: bool
) -> Ended:
    """The background agent with these settings, read from `path`, until it ends or they are to be read anew."""
    from agent.approve.approvers import DenyingApprover
    from agent.approve.proposals import policy_digest
    from agent.service.control_loop import ControlLoop
    from agent.service.forecast_trouble import ForecastTrouble
    from agent.service.leading import Leading
    from agent.service.observability.span_export import exporting_spans
    from agent.service.people.questions import Questions
    from agent.service.people.slash_commands import LastLook
    from agent.service.scheduler import log_watcher, serve
    from agent.service.session import connect
    from agent.service.upkeep.hindsight import HindsightKeeper
    from agent.service.upkeep.housekeeping import Housekeeping
    from agent.service.upkeep.jobs import JobCounts
    from agent.service.upkeep.retraining import Retraining
    from agent.state.agent_policies import AgentPolicies
    from agent.state.archived_guests import ArchiveWatch
    from tools.journal import be_the_only_one
    from tools.tracing.log import configure_log

    configure_log(**dict(settings.log))
    with (
        exporting_spans(settings),
        nullcontext() if once else be_the_only_one(settings.state_dir),
        connect(settings, policy_file, planner=planner, keep_ring=True) as session,
    ):
        forecasts = ForecastTrouble(look_now=session.look, unusable=session.unusable_forecasts)
        last = LastLook(look_now=forecasts.look, policy=session.policy, clock=session.hands.clock)
        leading, jobs = None, JobCounts()
        if session.leadership is not None:
            agent, sha256 = session.leadership.agent, policy_digest(session.policy)
            policies = AgentPolicies(session.unled, session.hands.clock, agent=agent, sha256=sha256)
            leading = Leading(leadership=session.leadership, whereabouts=session.whereabouts, policies=policies)
        cycle = ControlLoop(
            hands=session.hands,
            policy=session.policy,
            look=ArchiveWatch(look_now=last.look, journal=session.unled, clock=session.hands.clock).look,
            planner=session.planner,
            approver=DenyingApprover(),
            watcher=log_watcher(),
            carry_out=session.durable.execute,
            questions=Questions(hands=session.hands, policy=session.policy),
            hindsight=HindsightKeeper(session.hands.journal, jobs),
            look_again=settings.interval,
        )
        if leading is not None:
            cycle.hand_over = leading.hand_over
        observer = observed(session, lambda: last.situation, cycle.tiers, jobs)
        if observer is not None:
            cycle.watcher = observer.moves.watched(cycle.watcher)
            observer.metrics.unusable = lambda: forecasts.told
        housekeeping = Housekeeping(settings.state_dir, settings.keep, session.hands.clock, jobs=jobs)

        def on_pass(result: PassResult) -> None:
            with said_when_not_written(settings.state_dir):
                keep_report(result, session, jobs)
            housekeeping.tidy()

        session.durable.require_usable()
        with (
            answerable_elsewhere(session, lambda: last.situation),
            telling_status(session, observer),
            checking_archives(session, observer, jobs) if not once else nullcontext(),
        ):
            return serve(
                cycle,
                recover=lambda: session.durable.recover(session.hands, session.policy, session.look, cycle.watcher),
                interval=settings.interval,
                on_pass=on_pass,
                observer=observer,
                retraining=Retraining(settings, session.hands.clock, jobs=jobs)
                if settings.forecast.retrain is not None
                else None,
                leading=leading,
                require_reloadable=lambda: require_takeover(settings, path, policy_file, planner=planner),
                manager=manager,
                once=once,
            )


def require_takeover(before: Settings, path: Path, policy_file: Path | None, *, planner: str) -> None:
    """Raises BadInput when the agent that runs with `before` could not go on with what the files say now. Whatever it would open
    is opened beside it and closed again: once it has let go of what it has, it is too late to find that out."""
    from agent.configuration.check import require_reloadable
    from agent.service.loopback_http import require_free
    from agent.service.people.webhook_server import read_secrets
    from agent.service.session import connect

    now = require_reloadable(before, path, policy_file)
    held = {service.port for service in (before.status, before.webhook) if service is not None}
    for setting, service in (("status.port", now.status), ("webhook.port", now.webhook)):
        if service is not None and service.port not in held:
            require_free(service.port, setting=setting)
    if now.slack is not None:
        from agent.approve.slack.connect import open_slack

        open_slack(now.slack)
    if now.webhook is not None:
        read_secrets(now.webhook)
    with connect(now, policy_file, planner=planner):
        pass


@contextmanager
def said_when_not_written(state_dir: Path) -> Generator[None]:
    """A disk that is full, read-only or somebody else's costs the report of a pass, not the pass."""
    from models.errors import LifeboatError

    try:
        yield
    except (OSError, LifeboatError) as error:
        import structlog

        told = f"{error.filename or state_dir}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
        structlog.get_logger("lifeboat").error("report-not-written", message=told)


def checking_archives(
    session: Session, observer: Observability | None, jobs: JobCounts
) -> AbstractContextManager[None]:
    """For as long as the block runs, archives are read again when the settings say."""
    settings, leadership = session.settings, session.leadership
    if not settings.archive_url or settings.verify_archives is None:
        return nullcontext()
    from agent.service.upkeep.archive_checks import ArchiveChecks

    def acts() -> bool:
        return leadership is None or leadership.leader() == leadership.agent

    checks = ArchiveChecks(settings, session.unled, session.hands.clock, acts=acts, jobs=jobs)
    if observer is not None:
        from agent.service.observability.archive_metrics import ArchiveMetrics

        observer.metrics.registry.register(ArchiveMetrics(checks, session.hands.clock))
    return checks.running()


@contextmanager
def answerable_elsewhere(session: Session, seen: Callable[[], Situation | None]) -> Generator[None]:
    """For as long as the block runs, people answer in Slack, and other systems by signed HTTP, where the settings name them.

    Raises BadInput.
    """
    settings = session.settings
    with ExitStack() as stack:
        chat: SlackChat | None = None
        if settings.slack is not None:
            from agent.approve.slack.connect import open_slack
            from agent.approve.slack.view import SlackView
            from agent.service.people.slash_commands import SlashCommands

            chat, clock, policy = open_slack(settings.slack), session.hands.clock, session.policy
            commands = SlashCommands(chat=chat, journal=session.unled, policy=policy, clock=clock, seen=seen)
            view = SlackView(chat, session.unled, policy, clock, on_command=commands.take)
            stack.enter_context(view.running())
        if settings.webhook is not None:
            stack.enter_context(_open_to_http(session, chat))
        yield


def _open_to_http(session: Session, chat: SlackChat | None) -> AbstractContextManager[int]:
    from agent.approve.slack.http import SlackRequests
    from agent.approve.webhook import Webhook
    from agent.service.people.webhook_server import read_secrets, serving
    from tools.secret_files import read_signing_secret

    clock, settings = session.hands.clock, session.settings
    assert settings.webhook is not None
    secrets = read_secrets(settings.webhook)
    webhook = Webhook(journal=session.unled, policy=session.policy, clock=clock, secrets=secrets)
    secret_file = settings.slack.signing_secret_file if settings.slack is not None else None
    slack: SlackRequests | None = None
    if chat is not None and secret_file is not None:
        secret = read_signing_secret(secret_file)
        slack = SlackRequests(journal=session.unled, clock=clock, secret=secret, take=chat.take)
    return serving(webhook, settings.webhook.port, slack=slack)


def observed(
    session: Session,
    seen: Callable[[], Situation | None],
    tiers: Callable[[], Mapping[str, Tier]],
    jobs: JobCounts,
) -> Observability | None:
    """What is told of the agent, where the settings say so."""
    if session.settings.status is None:
        return None
    from agent.service.observability.job_metrics import JobMetrics
    from agent.service.observability.observability import Observability
    from tools.llm.capabilities import LLM_DIRECTORY

    settings = session.settings
    observer = Observability(
        journal=session.unled,
        clock=session.hands.clock,
        seen=seen,
        tiers=tiers,
        holder=session.lease.holder,
        llm=settings.state_dir / LLM_DIRECTORY,
        interval_seconds=settings.interval.total_seconds(),
        prices=(settings.llm.prompt_price, settings.llm.completion_price) if settings.llm is not None else (0.0, 0.0),
    )
    observer.metrics.registry.register(JobMetrics(jobs))
    observer.metrics.given_up = session.given_up
    return observer


def telling_status(session: Session, observer: Observability | None) -> AbstractContextManager[object]:
    """For as long as the block runs, metrics, probes and the status page are served. Raises BadInput."""
    if observer is None or session.settings.status is None:
        return nullcontext()
    return observer.serving(session.settings.status.port)


def keep_report(result: PassResult, session: Session, jobs: JobCounts) -> None:
    """Write the report of a pass that planned something to `state_dir/reports`; not when another lifeboat was at work, or
    when it came to the same as the one before."""
    from models.errors import Busy

    if result.plan is None or result.repeated or isinstance(result.refusal, Busy):
        return
    from agent.service.upkeep.jobs import Job

    with jobs.counted(Job.REPORT):
        _write_report(result, session)


def _write_report(result: PassResult, session: Session) -> None:
    import hashlib

    from agent.cli.outcome import report_of
    from agent.report import write_html
    from tools.ports.records.approvals import ApprovalAsked
    from tools.ports.records.chat import ReportWritten

    name = result.evacuation.id if result.evacuation else f"plan-{result.started_at:%Y%m%dT%H%M%SZ}"
    path = session.settings.state_dir / "reports" / f"{name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_html(report_of(result, session), path)
    journal, now = session.hands.journal, session.hands.clock.now()
    if result.evacuation is not None and journal.of(ApprovalAsked, evacuation=name):
        content = path.read_bytes()
        written = ReportWritten(path=str(path), sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        journal.append(written, now=now, evacuation=name)
