"""Evacuations as DBOS workflows, so that they outlast the process: one workflow per evacuation, one per lane of several, one per
action.

The only module that imports dbos. What is done to vms is decided and written down by `agent.execute.evacuation.Run` and the
journal; DBOS keeps which workflows are not over, starts them again, and hands results on. So a workflow may run again
from its beginning at any time: an attempt that is over answers how it ended, one that was cut off looks at both nodes.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy
import sqlalchemy.exc
from dbos import DBOS, DBOSConfig, SetWorkflowID

from agent.actions.resources import Resources
from agent.actions.runner import recover_attempts
from agent.assess.monitor import Look
from agent.execute.evacuation import Run, Watcher
from agent.execute.recovery import why_not_continue
from agent.state.requests import read_requests, unfinished
from models.approval import ApprovedPlan
from models.errors import BadInput, Busy, LeadLost
from models.evacuation import Attempt, Evacuation
from models.policy.policy import Policy
from models.text import without_credentials
from tools.journal import local_lease, sqlalchemy_url
from tools.journal.state_files import cannot_open
from tools.ports.journal import Leadership, Lease, LeaseLost, NotWritten
from tools.ports.records.attempts import AttemptEnded

WORKFLOWS_VERSION = "2"
"""Pinned, so that an upgrade of lifeboat goes on with what the old one began. Raise it whenever the workflows below start other
children, or start them in another order: what an older one began is then finished from the journal (`Durable._take_over`), as
DBOS could not follow it. 2: lanes"""
WORKFLOWS_KEPT = timedelta(days=7)
"""by the machine's clock, since they began; longer than any evacuation takes"""
_AT_ONCE = 500
_FILE = "durable.sqlite"

_runs: dict[str, Run] = {}
"""by workflow, the evacuations that this process carries out: DBOS knows workflows by name and id only, and has one instance a
process"""


@DBOS.workflow(name="evacuation", max_recovery_attempts=None)
def _evacuation() -> str:
    itself = _workflow_id()
    run = _run_of(itself)
    lanes = run.lanes
    if len(lanes) < 2:
        return run.finish([attempt for lane in lanes for attempt in _walked(run, itself, lane)]).model_dump_json()
    ended = run.gather([_start_lane(run, itself, number) for number in range(len(lanes))])
    attempts = [Attempt.model_validate_json(attempt) for lane in ended for attempt in lane]
    return run.finish(attempts).model_dump_json()


@DBOS.workflow(name="lane", max_recovery_attempts=None)
def _lane(workflow: str, number: int) -> list[str]:
    run = _run_of(workflow)
    return [attempt.model_dump_json() for attempt in _walked(run, workflow, run.lanes[number])]


def _walked(run: Run, workflow: str, waves: Sequence[Sequence[int]]) -> list[Attempt]:
    """The attempts of one lane, wave by wave."""
    attempts: list[Attempt] = []
    for wave in waves:
        run.expect(wave)
        ended = run.gather([_start(run, workflow, number) for number in wave])
        attempts += [Attempt.model_validate_json(attempt) for attempt in ended]
    return attempts


@DBOS.workflow(name="action", max_recovery_attempts=None)
def _action(workflow: str, number: int) -> str:
    return _run_of(workflow).attempt(number).model_dump_json()


def _run_of(workflow: str) -> Run:
    """Bound to this process; or one that the journal knows to be over, of which DBOS had not heard before a crash."""
    if workflow not in _runs:
        (known,) = {id(run.hands): run.hands for run in _runs.values()}.values()
        return Run.from_journal(known, workflow)
    return _runs[workflow]


def _start(run: Run, workflow: str, number: int) -> Callable[[], str]:
    """Always all actions of a wave in the plan's order, as DBOS needs to find them again; the queue holds them back."""
    with SetWorkflowID(run.attempt_id(number) + workflow.removeprefix(run.id)):
        return DBOS.start_workflow(_action, workflow, number).get_result


def _start_lane(run: Run, workflow: str, number: int) -> Callable[[], list[str]]:
    """A workflow of its own: within one, only the order of its own waves is the same each time."""
    with SetWorkflowID(f"{run.id}-lane-{number}{workflow.removeprefix(run.id)}"):
        return DBOS.start_workflow(_lane, workflow, number).get_result


def _workflow_id() -> str:
    workflow_id = DBOS.workflow_id
    assert workflow_id is not None
    return workflow_id


class Durable:
    """Carries out evacuations so that they survive the process, and finishes those that a crash cut off."""

    def __init__(self, state_dir: Path, url: str | None = None, leadership: Leadership | None = None) -> None:
        """`url` and `leadership`: of a PostgreSQL that several lifeboats share; None: a SQLite file in `state_dir`. Raises
        BadInput."""
        self._state_dir = state_dir.absolute()
        self._leadership = leadership
        self._lease: Lease = leadership or local_lease(self._state_dir)
        self._url = sqlalchemy_url(url) if url else f"sqlite:///{self._state_dir / _FILE}"

    def execute(
        self, approved: ApprovedPlan, hands: Resources, *, evacuation: str, watcher: Watcher | None = None
    ) -> Evacuation:
        """As `agent.execute.evacuation.execute`. Raises Busy when another lifeboat is at work, or one was and did not finish."""
        with self._to_its_end(), self._lease.hold(evacuation):
            cut_off = unfinished(hands.journal)
            if cut_off:
                raise Busy(
                    f"evacuation {cut_off[-1]} was not finished; nothing was changed",
                    hint=f"`lifeboat resume {cut_off[-1]}` goes on with it, `lifeboat cancel {cut_off[-1]}` ends it",
                )
            run = Run(approved, hands, evacuation, watcher)
            with self._launched([run]):
                run.begin()
                with SetWorkflowID(self._workflow_of(run)):
                    handle = DBOS.start_workflow(_evacuation)
                (ended,) = run.gather([handle.get_result])
        return Evacuation.model_validate_json(ended)

    def recover(
        self, hands: Resources, policy: Policy, look: Look, watcher: Watcher | None = None
    ) -> tuple[list[Attempt], list[Evacuation]]:
        """What a crash cut off, brought to an end: the attempts that had to be looked after, and the evacuations that
        are over now.

        What a live lifeboat works on is left alone. A paused evacuation stays paused: what it had begun is ended, the
        rest waits for `lifeboat resume` or `lifeboat cancel`.
        """
        watcher = watcher or Watcher()
        with self._to_its_end(), ExitStack() as stack:
            try:
                stack.enter_context(self._lease.hold("recovery"))
            except Busy:
                return [], []
            attempts = recover_attempts(hands, policy, watcher.on_progress)
            waiting = [Run.from_journal(hands, evacuation, watcher) for evacuation in unfinished(hands.journal)]
            runs = [run for run in waiting if read_requests(hands.journal, run.id).paused_by is None]
            for run in runs:
                self._decide(run, look)
            if not runs:
                return attempts, []
            stack.enter_context(self._launched(runs))
            return attempts, [self._finish(run) for run in runs]

    def _decide(self, run: Run, look: Look) -> None:
        requests = read_requests(run.hands.journal, run.id)
        if requests.cancelled_by is not None or requests.abandoned is not None:
            return
        over = {entry.attempt for entry in run.hands.journal.of(AttemptEnded, evacuation=run.id)}
        begun = frozenset(n for n in range(len(run.approved.plan.actions)) if run.attempt_id(n) in over)
        reason = why_not_continue(run.approved, begun, requests, look, run.hands.clock.now())
        if reason is not None:
            run.abandon(reason)

    def _finish(self, run: Run) -> Evacuation:
        """DBOS has begun to recover it, unless it never got so far as to know it, or gave it up over an error."""
        workflow = self._workflow_of(run)
        status = DBOS.get_workflow_status(workflow)
        if status is None or status.status in ("PENDING", "ENQUEUED"):
            if status is None:
                with SetWorkflowID(workflow):
                    DBOS.start_workflow(_evacuation)
            handle = DBOS.retrieve_workflow(workflow)
            (ended,) = run.gather([lambda: str(handle.get_result(polling_interval_sec=0.1))])
            return Evacuation.model_validate_json(ended)
        return run.run_lanes()

    def require_usable(self) -> None:
        """Raises BadInput where no evacuation could be carried out: its database is somebody else's, or a newer lifeboat's. One
        that does not answer now may do so later."""
        if self._url.startswith("sqlite"):
            _make_private(self._state_dir / _FILE)
            _require_known(self._state_dir / _FILE)
        else:
            _require_known_in(self._url)

    @contextmanager
    def _launched(self, runs: Sequence[Run]) -> Generator[None]:
        """DBOS up, with these evacuations bound to this process; launching starts again what it finds unfinished.

        No conductor, no admin server, no tracing. Nothing is logged: its errors come out of the calls below, or end in
        the evacuation's own result.
        """
        log = logging.getLogger("dbos")
        log.setLevel(logging.CRITICAL)
        log.handlers = [logging.NullHandler()]  # its own would hold on to what stderr was at first
        config: DBOSConfig = {
            "name": "lifeboat",
            "system_database_url": self._url,
            "executor_id": f"lifeboat{self._term()}",
            "application_version": self._version(),
            "log_level": "CRITICAL",
            "enable_otlp": False,
            "notification_listener_polling_interval_sec": 0.2,  # also how long closing it takes
            "conductor_key": None,
        }
        self.require_usable()
        workflows = {self._workflow_of(run): run for run in runs}
        _runs.update(workflows)
        DBOS(config=config)
        try:
            try:
                DBOS.launch()
                self._take_over()
                _forget_old()
            except sqlalchemy.exc.SQLAlchemyError as error:
                raise BadInput(
                    f"the database of durable runs can't be opened: {without_credentials(_in_one_line(error))}",
                    hint="check `database_url` (or state_dir) in the settings; nothing was changed",
                ) from error
            with ExitStack() as steered:
                for run in runs:
                    steered.enter_context(run.watching_requests())
                yield
        finally:
            DBOS.destroy()
            for workflow in workflows:
                _runs.pop(workflow, None)

    def _term(self) -> str:
        """Of whoever leads, among those that share a database: a workflow is of one lease. One that was led before and only
        stood still goes on with its own, and nothing that it says of them is taken for what the leader's came to."""
        return "" if self._leadership is None else f"@{self._leadership.epoch()}"

    def _workflow_of(self, run: Run) -> str:
        return f"{run.id}{self._term()}"

    def _take_over(self) -> None:
        """What other executors, or other versions of the workflows, began is this one's now: DBOS starts again only what is of
        its own version, and would have us wait for the rest for ever. The journal says what is not over; the workflows of before
        are closed, so that none of them is started again elsewhere, and `_finish` goes on from the journal."""
        mine = self._version()
        for workflow in DBOS.list_workflows(status=["PENDING", "ENQUEUED"]):
            if not workflow.workflow_id.endswith(self._term()) or workflow.app_version != mine:
                DBOS.cancel_workflow(workflow.workflow_id)

    def _version(self) -> str:
        """What is started again goes through a queue that all of one version read: of one each, of its own lease."""
        return f"{WORKFLOWS_VERSION} lifeboat{self._term()}"

    @contextmanager
    def _to_its_end(self) -> Generator[None]:
        """Raises LeadLost for whatever went wrong once another lifeboat led: that one has taken the work over; NotWritten where
        DBOS could not write, as on a full disk."""
        try:
            yield
        except Exception as error:
            if self._leadership is not None:
                try:
                    self._leadership.require()
                except LeaseLost as lost:
                    raise LeadLost(
                        str(lost), hint="what was begun is looked at and finished by whoever leads"
                    ) from error
            if isinstance(error, sqlalchemy.exc.SQLAlchemyError):
                cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig else error
                why = without_credentials(_in_one_line(cause))
                raise NotWritten(f"the database of durable runs can't be written: {why}") from error
            raise


def _forget_old() -> None:
    """DBOS's rows of what was over long ago: nobody asks for them, as the journal says how each evacuation ended."""
    cutoff = (datetime.now(UTC) - WORKFLOWS_KEPT).isoformat()
    while old := DBOS.list_workflows(
        status=["SUCCESS", "ERROR", "CANCELLED"], end_time=cutoff, limit=_AT_ONCE, load_input=False, load_output=False
    ):
        DBOS.delete_workflows([each.workflow_id for each in old])


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _make_private(file: Path) -> None:
    """So that nobody else can read it: DBOS would make it as the umask says. Raises BadInput."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise cannot_open(file, error, what="database of durable runs") from error


def _require_known(file: Path) -> None:
    """DBOS would go on in a database that a newer one has brought up to date, without a word. Raises BadInput."""
    try:
        from dbos._migration import sqlite_migrations  # what it brings a file up to is told nowhere else
    except ImportError:
        return  # a DBOS that keeps it elsewhere: no reason not to run at all
    db = sqlite3.connect(file)
    try:
        there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'dbos_migrations'").fetchone()
        row = db.execute("SELECT max(version) FROM dbos_migrations").fetchone() if there else None
    except sqlite3.Error as error:
        raise BadInput(
            f"the database of durable runs {file} can't be read: {error}", hint="restore state_dir from a backup"
        ) from error
    finally:
        db.close()
    _require_not_newer(f" {file}", int(row[0] or 0) if row else 0, len(sqlite_migrations))


def _require_known_in(url: str) -> None:
    """As `_require_known`, of a PostgreSQL. One that does not answer is told of by who opens it."""
    try:
        from dbos._migration import get_migration_versions
    except ImportError:
        return
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    try:
        version, known = get_migration_versions(engine, "dbos", use_listen_notify=True)
    except sqlalchemy.exc.SQLAlchemyError:
        return
    finally:
        engine.dispose()
    _require_not_newer("", version, known)


def _require_not_newer(where: str, version: int, known: int) -> None:
    if version > known:
        raise BadInput(
            f"the database of durable runs{where} is in version {version}, this lifeboat knows {known} at most",
            hint="a newer lifeboat has used it: use that version here too; nothing was changed",
        )
