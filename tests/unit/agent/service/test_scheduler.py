"""Pass after pass: at their interval, whatever the wall clock says, until told to stop."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import structlog
from scenes.simulated_world import POLICY, World
from structlog.testing import capture_logs

from agent.approve.approvers import DenyingApprover
from agent.llm.choose import planner_named
from agent.service.control_loop import ControlLoop, PassResult
from agent.service.due_times import Missed
from agent.service.scheduler import Ended, PassObserver, log_watcher, serve
from agent.service.upkeep.retraining import Retraining
from models.errors import BadInput, MetricsUnavailable, NodeUnreachable
from models.evacuation import Attempt, AttemptOutcome
from models.fleet import Fleet
from models.plan import Action, ActionKind, Plan
from models.risk.risk import Risk
from models.situation import Situation
from tools.clock import VirtualClock
from tools.service_manager import ServiceManager
from tools.tracing.log import configure_log

INTERVAL = timedelta(seconds=30)
ENOUGH = 4


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.journal.close()


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Watched:
    """A quiet fleet, and when each look at it was begun, in seconds that nobody sets back."""

    def __init__(self, world: World) -> None:
        self.world = world
        assert isinstance(world.fleet.clock, VirtualClock)
        self.clock = world.fleet.clock
        self.looks: list[float] = []
        self.ends: Callable[[], bool] = lambda: len(self.looks) >= ENOUGH
        self.failing: dict[int, Exception] = {}
        """number of a look, from 1 → what it raises"""
        self.risky: tuple[str, ...] = ()
        self.blind_to: set[str] = set()
        """nodes of which there is no data"""
        self.loop = ControlLoop(
            hands=world.hands, policy=POLICY, look=self.look, planner=planner_named("solver", None),
            approver=DenyingApprover(),
        )  # fmt: skip

    def look(self) -> tuple[Fleet, list[Risk]]:
        self.looks.append(self.clock.monotonic())
        if self.ends():
            os.kill(os.getpid(), signal.SIGTERM)
        if len(self.looks) in self.failing:
            raise self.failing[len(self.looks)]
        risks = self.world.risks(failing=self.risky)
        blind = {"data_age_seconds": None, "probability": {"2h": 0.0}}
        return self.world.snapshot(), [
            risk.model_copy(update=blind) if risk.node in self.blind_to else risk for risk in risks
        ]

    def serve(self, set_clock_by: timedelta = timedelta(0)) -> None:
        def on_pass(_: PassResult) -> None:
            self.clock.set_wall_clock(set_clock_by)

        serve(self.loop, recover=lambda: ([], []), interval=INTERVAL, on_pass=on_pass)

    def apart(self) -> list[float]:
        """Seconds from each of the first looks to the next."""
        first = self.looks[:ENOUGH]
        return [round(later - earlier) for earlier, later in pairwise(first)]


@pytest.mark.parametrize("by", [timedelta(hours=-1), timedelta(hours=1)], ids=["back", "forward"])
def test_passes_come_at_their_interval_though_somebody_sets_the_clock(world: World, by: timedelta) -> None:
    watched = Watched(world)
    watched.serve(set_clock_by=by)
    assert watched.apart() == [INTERVAL.total_seconds()] * (ENOUGH - 1)


def test_a_pass_that_fails_or_meets_a_fault_of_lifeboats_own_is_followed_by_the_next(world: World) -> None:
    watched = Watched(world)
    watched.failing = {1: MetricsUnavailable("Prometheus does not answer"), 2: ZeroDivisionError("a fault")}
    watched.serve()
    assert watched.apart() == [INTERVAL.total_seconds()] * (ENOUGH - 1)


def test_told_to_stop_it_ends_the_pass_and_begins_no_other(world: World) -> None:
    watched = Watched(world)
    watched.serve()
    seen = len(watched.looks)
    assert watched.loop.watcher.cancelled.is_set()
    world.fleet.clock.sleep(10 * INTERVAL.total_seconds())
    assert len(watched.looks) == seen


@pytest.mark.parametrize("usable", [True, False], ids=["files-are-right", "files-are-wrong"])
def test_told_to_reload_it_ends_between_passes_or_goes_on_as_it_was(world: World, usable: bool) -> None:
    watched = Watched(world)
    asked: list[int] = []
    watched.ends = lambda: not usable and bool(asked) and len(watched.looks) > asked[0] + 1

    def require_reloadable() -> None:
        asked.append(len(watched.looks))
        if not usable:
            raise BadInput("policy.yaml: triger: not known here")

    def on_pass(_: PassResult) -> None:
        if len(watched.looks) == 1:
            os.kill(os.getpid(), signal.SIGHUP)

    ended = serve(
        watched.loop,
        recover=lambda: ([], []),
        interval=INTERVAL,
        on_pass=on_pass,
        require_reloadable=require_reloadable,
    )
    assert len(asked) == 1
    assert ended is (Ended.RELOADING if usable else Ended.STOPPED)
    assert watched.loop.watcher.cancelled.is_set() is not usable


def test_the_same_failure_is_told_once_then_counted_and_its_end_is_told(world: World) -> None:
    watched = Watched(world)
    watched.failing = {number: MetricsUnavailable("Prometheus does not answer") for number in range(2, 8)}
    watched.failing[8] = MetricsUnavailable("Prometheus answers 503")
    watched.ends = lambda: len(watched.looks) >= 9
    with capture_logs() as lines:
        watched.serve()
    failed = [(line["message"], line["in_a_row"]) for line in lines if line["event"] == "pass-failed"]
    assert failed == [
        *(("Prometheus does not answer", times) for times in (1, 2, 4)),
        ("Prometheus answers 503", 1),
    ]
    assert [line["failed_in_a_row"] for line in lines if line["event"] == "pass-works-again"] == [1]


def test_whatever_goes_wrong_in_a_pass_is_said_under_the_trace_of_that_pass(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = Watched(world)
    watched.failing = {2: RuntimeError("a fault"), 3: MetricsUnavailable("Prometheus does not answer")}
    configure_log(format="json")
    try:
        watched.serve()
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    wrong = [line for line in lines if line["level"] in ("warning", "error")]
    assert {"pass-crashed", "pass-failed"} <= {line["event"] for line in wrong}
    traces = [line["trace"] for line in wrong if line["event"] in ("pass-crashed", "pass-failed")]
    assert len(set(traces)) == 2
    assert all(len(line["trace"]) == 32 for line in wrong)


@pytest.mark.parametrize(
    ("outcome", "level"), [(AttemptOutcome.INDETERMINATE, "warning"), (AttemptOutcome.DONE, "info")]
)
def test_a_move_that_went_wrong_is_a_warning_and_names_guest_and_nodes(outcome: AttemptOutcome, level: str) -> None:
    action = Action(
        kind=ActionKind.LIVE_MIGRATE, vm="u", vm_name="web", source="a", target="b", reason="its node fails"
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    attempt = Attempt(id="evac-1-000", action=action, started_at=at, ended_at=at, outcome=outcome, message="why")
    with capture_logs() as lines:
        log_watcher().on_attempt_finished(attempt)
    (line,) = lines
    assert (line["log_level"], line["vm"], line["source"], line["target"]) == (level, "web", "a", "b")


class Told(ServiceManager):
    """What a service manager is told, in order, and how often lifeboat gave a sign of life and was looked on."""

    def __init__(self) -> None:
        super().__init__({"NOTIFY_SOCKET": "-", "WATCHDOG_USEC": "1"})
        self.lines: list[str] = []
        self.signs = 0
        self.looked_on = threading.Semaphore(0)

    def _tell(self, *lines: str) -> None:
        self.lines += lines

    def sign_of_life(self) -> None:
        self.signs += 1
        super().sign_of_life()

    def pass_on(self) -> None:
        super().pass_on()
        self.looked_on.release()


def test_a_service_manager_is_told_when_it_is_ready_what_passes_came_to_and_that_it_stops(world: World) -> None:
    watched, told = Watched(world), Told()
    watched.failing[2] = MetricsUnavailable("no answer")
    serve(watched.loop, recover=lambda: ([], []), interval=INTERVAL, on_pass=lambda _: None, manager=told)
    assert told.lines.index("READY=1") < told.lines.index("STOPPING=1")
    assert "WATCHDOG=1" in told.lines
    statuses = list(
        dict.fromkeys(line for line in told.lines if line.startswith("STATUS=the last pass"))
    )  # once is enough
    assert statuses[0].startswith("STATUS=the last pass: quiet")
    assert statuses[1] == "STATUS=the last pass failed (metrics-unavailable): no answer"


def test_a_pass_that_hangs_gives_no_sign_of_life(world: World) -> None:
    watched, told = Watched(world), Told()
    while_it_hung: list[int] = []

    def look() -> tuple[Fleet, list[Risk]]:
        told.looked_on.acquire(timeout=60)
        before = told.signs
        for _ in range(2):
            assert told.looked_on.acquire(timeout=60)
        while_it_hung.append(told.signs - before)
        os.kill(os.getpid(), signal.SIGTERM)
        return watched.look()

    watched.loop.look = look
    serve(watched.loop, recover=lambda: ([], []), interval=INTERVAL, on_pass=lambda _: None, manager=told)
    assert set(while_it_hung) == {0}
    assert told.signs > 0


class Counted(PassObserver):
    """Due times that passed without a pass."""

    def __init__(self) -> None:
        self.overlaps = self.standstills = 0

    def missed(self, missed: Missed) -> None:
        self.overlaps += missed.overlaps
        self.standstills += missed.standstills


class StandsStill(ServiceManager):
    """Everything stands still for an hour once the first pass is over, as on a host that was put to sleep."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__({})
        self._clock, self._slept = clock, False

    def status(self, status: str) -> None:
        if not self._slept:
            self._slept = True
            self._clock.sleep(3600)


def test_due_times_that_met_a_pass_or_a_standstill_are_counted_and_a_standstill_is_said(world: World) -> None:
    watched, counted = Watched(world), Counted()

    def on_pass(_: PassResult) -> None:
        if len(watched.looks) == 2:
            watched.clock.sleep(2.5 * INTERVAL.total_seconds())

    with capture_logs() as lines:
        serve(
            watched.loop, recover=lambda: ([], []), interval=INTERVAL, on_pass=on_pass, observer=counted,
            manager=StandsStill(watched.clock),
        )  # fmt: skip
    assert (counted.standstills, counted.overlaps) == (3600 // INTERVAL.total_seconds(), 2)
    (line,) = [line for line in lines if line["event"] == "stood-still"]
    assert (line["log_level"], line["passes_missed"], line["seconds"]) == ("warning", 120, 3570)


def test_a_pass_that_fails_names_the_node_it_is_about_or_those_it_was_to_empty(world: World) -> None:
    watched = Watched(world)
    watched.failing = {1: NodeUnreachable("node b: no answer", node="b"), 2: MetricsUnavailable("no answer")}

    def planner(situation: Situation, evacuating: Collection[str] = (), *, asked: Collection[str] = ()) -> Plan:
        raise ZeroDivisionError(f"a fault, while {evacuating} were planned")

    watched.risky = ("a",)
    watched.loop.planner = planner
    with capture_logs() as lines:
        watched.serve()
    named = [line["nodes"] for line in lines if line["event"] == "pass-failed"]
    assert named == [["b"], []]
    assert {tuple(line["nodes"]) for line in lines if line["event"] == "pass-crashed"} == {("a",)}


def test_a_node_without_data_is_unknown_in_the_line_of_a_pass_and_not_without_risk(world: World) -> None:
    watched = Watched(world)
    watched.blind_to = {"c"}
    with capture_logs() as lines:
        watched.serve()
    told = next(line["risks"] for line in lines if line["event"] == "pass")
    assert told in ("a 2h=0.001; c unknown", "b 2h=0.001; c unknown")
    watched.blind_to, watched.looks = {"a", "b", "c"}, []
    watched.loop.watcher.cancelled.clear()
    with capture_logs() as lines:
        watched.serve()
    assert next(line["risks"] for line in lines if line["event"] == "pass") == "a, b and c unknown"


def test_told_to_stop_while_it_reloads_it_stops(world: World) -> None:
    watched = Watched(world)
    watched.ends = lambda: False

    def once_more(_: PassResult) -> None:
        if len(watched.looks) == 1:
            os.kill(os.getpid(), signal.SIGHUP)

    def serving() -> Ended:
        return serve(
            watched.loop, recover=lambda: ([], []), interval=INTERVAL, on_pass=once_more, require_reloadable=lambda: None,
        )  # fmt: skip

    assert serving() is Ended.RELOADING
    os.kill(os.getpid(), signal.SIGTERM)
    assert serving() is Ended.STOPPED


def test_told_twice_to_reload_it_does_not_stop(world: World) -> None:
    watched = Watched(world)
    watched.ends = lambda: False
    looked = threading.Event()

    def once_more(_: PassResult) -> None:
        if not looked.is_set():
            os.kill(os.getpid(), signal.SIGHUP)
            looked.set()

    class Slow(Retraining):
        """At work until the passes have ended: the agent waits for it, and is told again meanwhile."""

        def __init__(self) -> None: ...

        def check(self) -> None:
            looked.wait(30)
            while any(thread.name == "passes" for thread in threading.enumerate()):
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGHUP)

    def serving(retraining: Retraining | None = None) -> Ended:
        return serve(
            watched.loop, recover=lambda: ([], []), interval=INTERVAL, on_pass=once_more, require_reloadable=lambda: None,
            retraining=retraining,
        )  # fmt: skip

    assert serving(Slow()) is Ended.RELOADING
    os.kill(os.getpid(), signal.SIGTERM)
    assert serving() is Ended.STOPPED
