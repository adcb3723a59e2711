"""Evacuations as DBOS workflows, so that they outlast the process: one workflow per evacuation, one per lane of several, one per
action.

The only module that imports dbos. What is done to vms is decided and written down by `agent.execute.evacuation.Run` and the
journal; DBOS keeps which workflows are not over, starts them again, and hands results on. So a workflow may run again
from its beginning at any time: an attempt that is over answers how it ended, one that was cut off looks at both nodes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
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
from models.errors import BadInput, Busy
from models.evacuation import Attempt, Evacuation
from models.policy import Policy
from tools.journal import open_lease
from tools.ports.records.attempts import AttemptEnded

WORKFLOWS_VERSION = "1"
"""Pinned, so that an upgrade of lifeboat goes on with what the old one began. Raise it only when the workflows below
start other children, or start them in another order, and keep the old ones until their evacuations are over."""
_FILE = "durable.sqlite"
_ADVISORY_KEY = 0x6C696665626F6174
"""of PostgreSQL's lock around `is anybody else evacuating? then I start`"""

_runs: dict[str, Run] = {}
"""the evacuations that this process carries out: DBOS knows workflows by name and id only, and has one instance a process"""


@DBOS.workflow(name="evacuation", max_recovery_attempts=None)
def _evacuation() -> str:
    run = _run_of(_workflow_id())
    lanes = run.lanes
    if len(lanes) < 2:
        return run.finish([attempt for lane in lanes for attempt in _walked(run, lane)]).model_dump_json()
    ended = run.gather([_start_lane(run, number) for number in range(len(lanes))])
    attempts = [Attempt.model_validate_json(attempt) for lane in ended for attempt in lane]
    return run.finish(attempts).model_dump_json()


@DBOS.workflow(name="lane", max_recovery_attempts=None)
def _lane(evacuation: str, number: int) -> list[str]:
    run = _run_of(evacuation)
    return [attempt.model_dump_json() for attempt in _walked(run, run.lanes[number])]


def _walked(run: Run, waves: Sequence[Sequence[int]]) -> list[Attempt]:
    """The attempts of one lane, wave by wave."""
    attempts: list[Attempt] = []
    for wave in waves:
        run.expect(wave)
        ended = run.gather([_start(run, number) for number in wave])
        attempts += [Attempt.model_validate_json(attempt) for attempt in ended]
    return attempts


@DBOS.workflow(name="action", max_recovery_attempts=None)
def _action(evacuation: str, number: int) -> str:
    return _run_of(evacuation).attempt(number).model_dump_json()


def _run_of(evacuation: str) -> Run:
    """Bound to this process; or one that the journal knows to be over, of which DBOS had not heard before a crash."""
    if evacuation not in _runs:
        (known,) = {id(run.hands): run.hands for run in _runs.values()}.values()
        return Run.from_journal(known, evacuation)
    return _runs[evacuation]


def _start(run: Run, number: int) -> Callable[[], str]:
    """Always all actions of a wave in the plan's order, as DBOS needs to find them again; the queue holds them back."""
    with SetWorkflowID(run.attempt_id(number)):
        return DBOS.start_workflow(_action, run.id, number).get_result


def _start_lane(run: Run, number: int) -> Callable[[], list[str]]:
    """A workflow of its own: within one, only the order of its own waves is the same each time."""
    with SetWorkflowID(f"{run.id}-lane-{number}"):
        return DBOS.start_workflow(_lane, run.id, number).get_result


def _workflow_id() -> str:
    workflow_id = DBOS.workflow_id
    assert workflow_id is not None
    return workflow_id


class Durable:
    """Carries out evacuations so that they survive the process, and finishes those that a crash cut off."""

    def __init__(self, state_dir: Path, url: str | None = None) -> None:
        """`url`: a PostgreSQL database that several lifeboats share; None: a SQLite file in `state_dir`. Raises BadInput."""
        self._state_dir = state_dir.absolute()
        self._lease = open_lease(self._state_dir)
        self._url = _checked(url) if url else f"sqlite:///{self._state_dir / _FILE}"
        self._executor = "lifeboat"
        if url:
            itself = f"{socket.gethostname()}:{self._state_dir}"
            self._executor = hashlib.sha256(itself.encode()).hexdigest()[:16]

    def execute(
        self, approved: ApprovedPlan, hands: Resources, *, evacuation: str, watcher: Watcher | None = None
    ) -> Evacuation:
        """As `agent.execute.evacuation.execute`. Raises Busy when another lifeboat is at work, or one was and did not finish."""
        with self._lease.hold(evacuation):
            cut_off = unfinished(hands.journal)
            if cut_off:
                raise Busy(
                    f"evacuation {cut_off[-1]} was not finished; nothing was changed",
                    hint=f"`lifeboat resume {cut_off[-1]}` goes on with it, `lifeboat cancel {cut_off[-1]}` ends it",
                )
            run = Run(approved, hands, evacuation, watcher)
            with self._launched([run]):
                with self._nobody_else():
                    run.begin()
                    with SetWorkflowID(run.id):
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
        with ExitStack() as stack:
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
        status = DBOS.get_workflow_status(run.id)
        if status is None or status.status in ("PENDING", "ENQUEUED"):
            if status is None:
                with self._nobody_else(), SetWorkflowID(run.id):
                    DBOS.start_workflow(_evacuation)
            handle = DBOS.retrieve_workflow(run.id)
            (ended,) = run.gather([lambda: str(handle.get_result(polling_interval_sec=0.1))])
            return Evacuation.model_validate_json(ended)
        return run.run_lanes()

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
            "executor_id": self._executor,
            # what is started again goes through a queue that all of one version read: of one each, of its own journal
            "application_version": f"{WORKFLOWS_VERSION} {self._executor}",
            "log_level": "CRITICAL",
            "enable_otlp": False,
            "notification_listener_polling_interval_sec": 0.2,  # also how long closing it takes
            "conductor_key": None,
        }
        if self._url.startswith("sqlite"):
            _make_private(self._state_dir / _FILE)
        _runs.update((run.id, run) for run in runs)
        DBOS(config=config)
        try:
            try:
                DBOS.launch()
            except sqlalchemy.exc.SQLAlchemyError as error:
                raise BadInput(
                    f"the database of durable runs can't be opened: {' '.join(str(error).split())[:300]}",
                    hint="check `durable_url` (or state_dir) in the settings; nothing was changed",
                ) from error
            with ExitStack() as steered:
                for run in runs:
                    steered.enter_context(run.watching_requests())
                yield
        finally:
            DBOS.destroy()
            for run in runs:
                _runs.pop(run.id, None)

    @contextmanager
    def _nobody_else(self) -> Generator[None]:
        """Between lifeboats that share a PostgreSQL: start only while none of the others has an evacuation open."""
        if self._url.startswith("sqlite"):
            yield  # the lease on the state directory has seen to it
            return
        engine = sqlalchemy.create_engine(self._url, poolclass=sqlalchemy.NullPool)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})
            going_on = DBOS.list_workflows(name="evacuation", status=["PENDING", "ENQUEUED"])
            others = [workflow for workflow in going_on if workflow.executor_id != self._executor]
            if others:
                raise Busy(
                    f"evacuation {others[0].workflow_id} of another lifeboat is not over; nothing was changed",
                    hint="a plan is judged for a fleet that nobody else changes: wait for it, or finish it where it runs",
                )
            yield


def _make_private(file: Path) -> None:
    """So that nobody else can read it: DBOS would make it as the umask says. Raises BadInput."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise BadInput(
            f"{file} can't be opened: {error.strerror}", hint="check state_dir in the settings; nothing was changed"
        ) from error


def _checked(url: str) -> str:
    try:
        made = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise BadInput(f"durable_url is not a database URL: {error}", hint="postgresql://user@host/database") from error
    if made.get_backend_name() != "postgresql":
        raise BadInput(
            f"durable_url: {made.get_backend_name()} is not supported",
            hint="postgresql://user@host/database, or leave it out for a file in state_dir",
        )
    return made.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
