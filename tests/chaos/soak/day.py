"""One day of `lifeboat run`, in this process, on a simulated fleet and a clock that runs many times as fast. SIMULATED nodes.

Everything of the agent is the real thing: control loop, scheduler, journal, DBOS, guard, executor, its HTTP and its signals. Not
real: the nodes, the clock, and what stands outside (Prometheus, Slack, a language model's endpoint), which are stubs on loopback.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from chaos.soak.clock import BEGAN, Pace, clock_of
from chaos.soak.guests import made_peculiar
from chaos.soak.outside import Outside, standing_by
from chaos.soak.taken import Sample, output_into, sampled, threads_left
from chaos.soak.truth import Truth
from chaos.soak.weather import Day, Event, drawn

import tools.clock
from agent.approve.identity import terminal_identity
from agent.approve.proposals import answer, open_questions
from agent.documents import read_policy
from agent.state.brake import tripped
from agent.state.requests import Request, ask, unfinished
from bench.simulated_agent import populated, put_in_place
from bench.simulated_prometheus import FleetTelemetry, serving
from models.errors import LifeboatError
from models.proposals.states import EventKind
from tools.archive.store import FsspecArchiveStore
from tools.journal import open_journal
from tools.ports.records.attempts import AttemptEnded
from tools.ports.records.evacuations import EvacuationEnded

POLICY = """
approval: {live_migrate: auto, cold_migrate: auto, cold_archive: ask}
data: {max_age: 15m}
labels: {believed: [priority, workload, cold-archive]}
"""
"""A look that takes two seconds of the machine takes minutes of the fleet's time: what it saw may be older than usual."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    nodes: int = 1_000
    guests: int = 3
    signals: int = 12
    hours: float = 24.0
    speed: float = 200.0
    """seconds of the fleet to one of the machine while everybody waits"""
    work_speed: float = 10.0
    """seconds of the fleet to one of the processor while somebody works"""
    interval: str = "5m"
    seed: int = 1
    busy: float = 1.0


@dataclass(kw_only=True)
class Found:
    setup: Setup
    samples: list[Sample] = field(default_factory=list[Sample])
    broken: list[str] = field(default_factory=list[str])
    happened: Counter[str] = field(default_factory=Counter[str])
    attempts: Counter[str] = field(default_factory=Counter[str])
    evacuations: Counter[str] = field(default_factory=Counter[str])
    passes: Counter[str] = field(default_factory=Counter[str])
    most: dict[str, int] = field(default_factory=dict[str, int])
    looked_at: dict[str, int] = field(default_factory=dict[str, int])
    """how often there was something that a rule could find broken"""
    ends: Counter[str] = field(default_factory=Counter[str])
    """how `lifeboat run` ended, each time"""
    left: list[list[str]] = field(default_factory=list[list[str]])
    """names of the threads that were still there then"""
    said: Counter[str] = field(default_factory=Counter[str])
    """lines of the log by what they say"""
    cpu_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Mend:
    """What ends something that went wrong."""

    at: float
    """hours of the fleet"""
    do: Callable[[], object]
    writes: bool
    """into the journal"""


class Play:
    """Call `run` in the main thread: signals go there."""

    def __init__(self, setup: Setup, directory: Path, say: Callable[[str], object]) -> None:
        self.setup, self.directory, self._say = setup, directory, say
        self.state = directory / "state"
        self.state.mkdir(parents=True, mode=0o700)
        self.log = directory / "log"
        self.names = tuple(f"node-{n:04d}" for n in range(setup.nodes))
        self.day: Day = drawn(setup.seed, self.names, setup.hours, BEGAN.timestamp(), busy=setup.busy)
        self._draw = random.Random(setup.seed + 1)
        self._over = threading.Event()
        self._mend: list[_Mend] = []
        self._database_locked = False
        """by us: nobody writes from here meanwhile, or it would wait for itself while hours of the fleet pass"""
        self.found = Found(setup=setup)

    def run(self) -> Found:
        began, worked = time.monotonic(), time.process_time()
        with ExitStack() as stack:
            telemetry = FleetTelemetry(nodes=self.names, signals=self.setup.signals, troubles=self.day.troubles)
            self._prometheus_pid: int | None = None
            url = stack.enter_context(serving(telemetry))
            self._prometheus_pid = _newest_child()
            self.outside: Outside = stack.enter_context(standing_by(self.setup.seed))
            settings = self._write_settings(url)
            self._pace = pace = Pace(speed=self.setup.speed, work_speed=self.setup.work_speed)
            tools.clock.SystemClock = clock_of(pace)  # type: ignore[misc]
            self.clock = tools.clock.SystemClock()
            self.fleet = populated(self.names, self.setup.guests, self.clock)
            put_in_place(self.fleet)
            self.truth = Truth(
                fleet=self.fleet, policy=read_policy(self.state / "policy.yaml"), blind=self.day.blind,
                peculiar=made_peculiar(self.fleet, self.setup.seed),
            )  # fmt: skip
            archives = (self.directory / "archives").as_uri()
            self.store = FsspecArchiveStore(archives, key_file=self.state / "archive-signing.key")
            self.journal = open_journal(self.state)
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: None)
            watchers = [threading.Thread(target=self._watch, args=(pace, each), name=f"soak-{each.__name__}", daemon=True)
                        for each in (self._happen, self.truth.watch)]  # fmt: skip
            pace.beside()
            with pace.passing(), output_into(self.log):
                try:
                    for each in watchers:
                        each.start()
                    while not self._over.is_set():
                        self._serve(settings)
                finally:
                    self._over.set()
                    self.truth.end()
                    for each in watchers:
                        each.join(30)
            self._conclude()
            self.journal.close()
        self.found.seconds, self.found.cpu_seconds = time.monotonic() - began, time.process_time() - worked
        return self.found

    def _watch(self, pace: Pace, what: Callable[[], None]) -> None:
        pace.beside()
        what()

    def _serve(self, settings: Path) -> None:
        from agent.cli.main import main

        sys.argv = ["lifeboat", "run", "--planner", "llm", "--config", str(settings)]
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        self.found.ends[f"exit {code}"] += 1
        self.found.left.append(threads_left())
        if code:
            self.truth.say(f"lifeboat run ended with {code}")
            time.sleep(0.5)

    def _write_settings(self, prometheus: str) -> Path:
        for name, token in (("bot", "xoxb-1-lab"), ("app", "xapp-1-lab")):
            (self.directory / f"{name}-token").write_text(token)
            (self.directory / f"{name}-token").chmod(0o600)
        (self.state / "policy.yaml").write_text(POLICY)
        planned = "".join(
            f"{node},{datetime.fromtimestamp(a, UTC).isoformat()},{datetime.fromtimestamp(b, UTC).isoformat()},maintenance\n"
            for node, a, b in self.day.planned
        )
        (self.directory / "incidents.csv").write_text("node,start,end,kind\n" + planned)
        file = self.directory / "lifeboat.yaml"
        file.write_text(yaml.safe_dump({
            "state_dir": str(self.state), "simulated": True, "interval": self.setup.interval,
            "policy_file": str(self.state / "policy.yaml"), "archive_url": (self.directory / "archives").as_uri(),
            "prometheus": {"url": prometheus, "timeout_seconds": 3.0},
            "forecast": {"incidents": str(self.directory / "incidents.csv")},
            "llm": {"base_url": f"{self.outside.model_url}", "model": "stub", "timeout_seconds": 4.0, "interface": "tools_auto"},
            "slack": {"channel": "C0LIFEBOAT", "bot_token_file": str(self.directory / "bot-token"),
                      "app_token_file": str(self.directory / "app-token"), "api_url": self.outside.slack_url},
            "nodes": [{"name": name, "libvirt_uri": "simulated:///"} for name in self.names],
        }))  # fmt: skip
        return file

    # --- what happens ---------------------------------------------------------------------------------------------------

    def _hour(self) -> float:
        return self.clock.monotonic() / 3600

    def _happen(self) -> None:
        """In a thread of its own: everything that befalls the fleet, and what people do, and an hourly look at it all."""
        waiting = list(self.day.events)
        looked, sampled = 0.0, 0.0
        while not self._over.is_set():
            now = self._hour()
            try:
                for due in [
                    each for each in self._mend if each.at <= now and not (self._database_locked and each.writes)
                ]:
                    self._mend.remove(due)
                    due.do()
                while waiting and waiting[0].at <= now and not (self._database_locked and waiting[0].is_asked):
                    self._strike(waiting.pop(0))
                if now - looked >= 0.1 and not self._database_locked:
                    looked = now
                    self._people()
                if now - sampled >= min(1.0, self.setup.hours / 8):
                    sampled = now
                    self._sample()
                    self.truth.check(self.journal, self.store, self.clock.now(), at_the_end=False)
            except (LifeboatError, sqlite3.OperationalError, OSError) as error:
                self.found.happened[f"soak: {type(error).__name__}"] += 1
            if now >= self.setup.hours:
                self._over.set()
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.02)

    def _strike(self, event: Event) -> None:
        self.found.happened[event.what] += 1
        fleet, whom, until = self.fleet, event.whom, event.at + event.hours
        mend: Callable[[], object] | None = None
        match event.what:
            case "kill node":
                self.truth.note_dying(whom)
                fleet.kill_node(whom)
                mend = lambda: fleet.revive_node(whom)
            case "cut off":
                fleet.cut_off(whom)
                mend = lambda: fleet.reconnect(whom)
            case "restart libvirtd":
                fleet.stop_libvirtd(whom)
                mend = lambda: fleet.start_libvirtd(whom)
            case "cut links of":
                with fleet.lock:
                    busy = [m.source for m in fleet.migrations] + [m.target for m in fleet.migrations]
                one = self._draw.choice(busy) if busy else whom
                for other in self.names:
                    if other != one:
                        fleet._cut_links.add(frozenset((one, other)))
                with fleet.lock:
                    fleet._judge_all()
                mend = fleet.mend_links
            case "freeze Prometheus":
                mend = self._frozen(self._prometheus_pid)
            case "freeze Slack and the model":
                self.outside.freeze(True)
                mend = lambda: self.outside.freeze(False)
            case "Slack is down":
                self.outside.tell("Slack is down")
                mend = lambda: self.outside.tell("Slack is up")
            case "Slack drops sockets":
                self.outside.tell(event.what)
            case "lock the database":
                mend = self._locked()
            case "SIGHUP" | "SIGTERM":
                os.kill(os.getpid(), signal.Signals[event.what])
            case "kill switch":
                (self.state / "STOP").touch()
                since = self.clock.now()
                mend = lambda: self._let_go(since)
            case _:
                if going_on := unfinished(self.journal):
                    self._ask(Request(event.what), going_on[-1])
                    if event.what == "pause":
                        mend = lambda: self._ask(Request.RESUME, going_on[-1])
        if mend is not None:
            self._mend.append(_Mend(at=min(until, self.setup.hours - 0.5), do=mend, writes=event.is_asked))

    def _ask(self, request: Request, evacuation: str) -> None:
        ask(self.journal, request, evacuation, by=terminal_identity(), now=self.clock.now())

    def _let_go(self, since: datetime) -> None:
        self.truth.stopped.append((since, self.clock.now()))
        (self.state / "STOP").unlink(missing_ok=True)

    def _frozen(self, pid: int | None) -> Callable[[], object] | None:
        if pid is None:
            return None
        os.kill(pid, signal.SIGSTOP)
        return lambda: os.kill(pid, signal.SIGCONT)

    def _locked(self) -> Callable[[], object] | None:
        """Somebody else's transaction holds the journal's file."""
        other = sqlite3.connect(self.state / "journal.sqlite", timeout=1, check_same_thread=False, isolation_level=None)
        try:
            other.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            other.close()
            return None
        self._database_locked = True

        def unlock() -> None:
            other.close()
            self._database_locked = False

        return unlock

    def _people(self) -> None:
        """Somebody answers questions, now and then; resets the breaker; starts guests that a dead node took along."""
        for question in open_questions(self.journal, self.clock):
            kind = self._draw.choice((EventKind.AGREE, EventKind.AGREE, EventKind.REJECT, None))
            if kind is not None:
                with suppress(LifeboatError):
                    answer(self.journal, question.id, kind, by=terminal_identity(), policy=self.truth.policy,
                           clock=self.clock, why="soak")  # fmt: skip
                    self.found.happened[f"answered: {kind}"] += 1
        if tripped(self.journal) is not None:
            self.found.happened["breaker tripped"] += 1
            from agent.state.brake import reset

            reset(self.journal, by=terminal_identity(), why="soak", now=self.clock.now())

    # --- what it takes --------------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        self._pace.await_quiet()
        sample = sampled(round(self._hour(), 2), self.state, self.log)
        self.found.samples.append(sample)
        self._say(
            f"{sample.hour:6.2f} h  rss {sample.rss_megabytes:7.1f} MB ({sample.anonymous_megabytes:.1f})"
            f"  threads {sample.threads:4}  handles {sample.handles:4}"
            f"  disk {sum(sample.disk_bytes.values()) / 1e6:7.1f} MB  log {sample.log_bytes / 1e3:7.0f} kB"
            f"  broken {len(self.truth.broken)}  happened {sum(self.found.happened.values())}"
        )

    def _conclude(self) -> None:
        self.truth.check(self.journal, self.store, self.clock.now(), at_the_end=True)
        self.found.broken = self.truth.broken
        self.found.most, self.found.looked_at = dict(self.truth.most), dict(self.truth.looked_at)
        self.found.attempts = Counter(
            f"{each.record.attempt.action.kind}: {each.record.attempt.outcome}"
            for each in self.journal.of(AttemptEnded)
        )
        self.found.evacuations = Counter(str(each.record.outcome) for each in self.journal.of(EvacuationEnded))
        for line in self.log.read_text(errors="replace").splitlines():
            self.found.said[_gist(line)] += 1


def _gist(line: str) -> str:
    """Level and event of a line of the log."""
    try:
        entry = json.loads(line)
        return f"{entry['level']}: {entry['event']}"
    except (ValueError, KeyError, TypeError):
        return "(other)"


def _newest_child() -> int | None:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return int(children[-1]) if children else None


def as_json(found: Found) -> str:
    def plain(value: Any) -> Any:
        return value.__dict__ if hasattr(value, "__dict__") else str(value)

    return json.dumps(found.__dict__, default=plain, indent=1)
