"""Three agents, one PostgreSQL, and whatever breaks whenever: nobody has a second hand on a guest. SIMULATED nodes.

    PYTHONPATH=tests python -m chaos.agent_faults --schedules 200     # the full run: minutes
    PYTHONPATH=tests python -m chaos.agent_faults --schedules 2 --seed 7

Agents are `lifeboat run` in processes of their own, each with a wire of its own to a real PostgreSQL; the nodes live in a server
process that notes who calls under which lease. The schedules are drawn from the seed, so each can be had again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from chaos.agent_process import Agent, start_agent
from chaos.kill_world import VMS, FastClock, Truth, WorldServer
from scenes.cut_off import Wire
from scenes.postgres_server import PostgresServer, running

from agent.actions.runner import needs_recovery
from agent.state.requests import unfinished
from models.errors import LifeboatError
from models.evacuation import AttemptOutcome
from tools.archive.store import FsspecArchiveStore
from tools.journal.postgres import PostgresJournal
from tools.ports.records.attempts import AttemptEnded, ShutdownIntended
from tools.ports.records.evacuations import EvacuationPlanned

NAMES = ("one", "two", "three")
LEASE_SECONDS = 1.0
SPEED = 5.0
"""of the fleet's clock: slower than for single kills, since leases and wires go by the real time"""
_PATIENCE_SECONDS = 180.0
_LOOK_SECONDS = 0.1
_EMPTY_SECONDS = 0.3
_QUIET_SECONDS = 20.0
"""many passes, on a busy machine too"""
_IMPORTED_ONCE = (
    "agent.cli.app", "agent.service.session", "agent.execute.workflows", "agent.report", "agent.service.leading",
    "agent.service.people.questions", "agent.service.upkeep.retraining", "agent.service.scheduler", "rich.console",
    "tools.guest_probe", "tools.journal.postgres", "tools.journal.row_lease", "dbos._sys_db_postgres",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Fault:
    after_seconds: float
    """since whoever leads had its first hand on a guest"""
    what: str
    whom: str
    """an agent, `leader`, or the database"""
    seconds: float = 0.0
    """until it is mended"""

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.what} {self.whom}{lasts} after {self.after_seconds:.2f} s"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    number: int
    faults: tuple[Fault, ...]
    clocks_off: tuple[int, ...] = (0, 0, 0)
    """hours, of each agent's host"""


@dataclass(kw_only=True)
class Found:
    """What was true once all was over."""

    schedule: int
    faults: list[str]
    two_hands: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])
    lost: list[str] = field(default_factory=list[str])
    left_over: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    stopped_for_nothing: list[str] = field(default_factory=list[str])
    """guests whose move was cut off while they were stopped, and that policy leaves alone for a while then"""
    hands_of: list[str] = field(default_factory=list[str])
    """agents that had one on a guest"""
    leaders: int = 0
    """leases that were taken"""
    take_over_seconds: float | None = None
    """from when the leader was killed, stopped or cut off until another had its first hand on something, or all was over"""
    seconds: float = 0.0
    """from the first hand until all was over"""
    outcomes: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def clean(self) -> bool:
        return not (self.two_hands or self.doubled or self.lost or self.left_over or self.wrong)


def drawn(seed: int, number: int) -> Schedule:
    """Up to three faults, most of them while guests move."""
    draw = random.Random(f"{seed}-{number}")
    faults: list[Fault] = []
    for _ in range(draw.choice((1, 1, 2, 3))):
        what = draw.choice(("kill", "kill", "stop", "stop", "cut", "silence", "end sessions", "restart", "freeze"))
        whom = draw.choice(("leader", "leader", "leader", *NAMES))
        lasts = draw.choice((0.3, 2.0, 3.5)) * LEASE_SECONDS * draw.uniform(0.8, 1.2)
        if what in ("end sessions", "restart", "freeze"):
            whom = "database"
        faults.append(
            Fault(
                after_seconds=draw.uniform(0.0, 2.5),
                what=what,
                whom=whom,
                seconds=0.0 if what in ("end sessions", "restart") else lasts,
            )
        )
    clocks = tuple(draw.choice((0, 0, 0, 1, -1)) for _ in NAMES)
    return Schedule(number=number, faults=tuple(sorted(faults, key=lambda each: each.after_seconds)), clocks_off=clocks)


class AgentHarness:
    """One server, one world, and three agents for each schedule."""

    def __init__(self, directory: Path) -> None:
        self.directory, self._stack = directory, ExitStack()
        directory.mkdir(exist_ok=True)
        self.address = str(directory / "world.sock")
        for module in _IMPORTED_ONCE:
            importlib.import_module(module)

    def __enter__(self) -> AgentHarness:
        self._stack.callback(setattr, FastClock, "speed", FastClock.speed)
        FastClock.speed = SPEED  # of each process that is forked from here on
        self.server: PostgresServer = self._stack.enter_context(running())
        world_server = WorldServer(address=self.address, authkey=b"kill")
        world_server.start()
        self._stack.callback(world_server.shutdown)
        self.world: Any = world_server.world()  # type: ignore[attr-defined]
        self._make_template()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make_template(self) -> None:
        """A database in which DBOS has its tables already: making them takes longer than all the rest."""
        import logging

        from dbos import DBOS

        self.server.execute("CREATE DATABASE template")
        PostgresJournal(self.server.url("template")).close()
        logging.getLogger("dbos").setLevel(logging.CRITICAL)
        url = self.server.url("template").replace("postgresql://", "postgresql+psycopg://")
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                DBOS(
                    config={
                        "name": "lifeboat",
                        "system_database_url": url,
                        "enable_otlp": False,
                        "log_level": "CRITICAL",
                    }
                )
                DBOS.launch()
                DBOS.destroy()
            os._exit(0)
        os.waitpid(pid, 0)

    def run(self, schedule: Schedule, *, runs_on: Sequence[str] = ("", "", "")) -> Found:
        play = Play(self, schedule, runs_on)
        try:
            found = play.run()
        finally:
            play.close()
        if found.clean:
            shutil.rmtree(play.directory)
        return found


class Play:
    """One schedule."""

    def __init__(self, harness: AgentHarness, schedule: Schedule, runs_on: Sequence[str]) -> None:
        self._harness, self._schedule = harness, schedule
        self._server, self._world = harness.server, harness.world
        self.directory = harness.directory / f"schedule-{schedule.number}"
        self.directory.mkdir(parents=True)
        self._database = f"run_{schedule.number}"
        self._server.execute(f"CREATE DATABASE {self._database} TEMPLATE template")
        self._world.reset()
        self._wires = {name: Wire(self._server.port) for name in NAMES}
        self._archives = self.directory / "archives"
        FsspecArchiveStore(self._archives.as_uri(), key_file=self.directory / "key")
        self._pids: dict[str, int] = {}
        self._agents: dict[str, Agent] = {}
        for name, hours, node in zip(NAMES, schedule.clocks_off, runs_on, strict=True):
            url = self._server.tcp_url(port=self._wires[name].port, database=self._database)
            self._agents[name] = Agent(
                name=name,
                state=self.directory / name,
                database_url=url,
                lease_seconds=LEASE_SECONDS,
                runs_on=node,
                clock_off=timedelta(hours=hours),
            )
        self._stopped: set[str] = set()
        self._heard_first = any(runs_on)
        """the first one leads, and all have heard of each other, before anything fails"""
        self._mend: list[tuple[float, Any]] = []
        self._quiet: tuple[tuple[str, int], float] | None = None
        self.struck: float | None = None
        self.struck_agent = ""

    def start(self, name: str) -> None:
        agent = self._agents[name]
        settings = agent.write_settings(self._archives, self._key())
        self._pids[name] = start_agent(agent, settings, self._harness.address)

    def _key(self) -> bytes:
        file = self.directory / "key"
        if not file.exists():
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
            from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

            key = Ed25519PrivateKey.generate()
            file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return file.read_bytes()

    def leader(self) -> str:
        rows = self._query("SELECT agent FROM lifeboat.lease")
        return rows[0][0] or "" if rows else ""

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        import psycopg

        try:
            with psycopg.connect(self._server.url(self._database), autocommit=True, connect_timeout=2) as connection:
                return connection.execute(statement.encode()).fetchall()
        except psycopg.Error:
            return []

    def run(self) -> Found:
        found = self._found = Found(
            schedule=self._schedule.number, faults=[str(each) for each in self._schedule.faults]
        )
        if self._heard_first:
            self._world.fails(False)
            self.start(NAMES[0])
            self._wait(lambda: self.leader() == NAMES[0], "nobody leads")
            for name in NAMES[1:]:
                self.start(name)
            self._wait(
                lambda: len(self._query("SELECT 1 FROM lifeboat.agents WHERE beat > 3")) == 3, "not all stand by"
            )
            self._world.fails(True)
        else:
            for name in NAMES:
                self.start(name)
        self._wait(lambda: bool(self._world.hands()), "nobody begins")
        began = time.monotonic()
        for fault in self._schedule.faults:
            self._until(began + fault.after_seconds)
            self.strike(fault)
        while self._mend and not (self._mend[0][0] - began > _PATIENCE_SECONDS and self._is_over()):
            self._until(min(self._mend[0][0], time.monotonic() + _LOOK_SECONDS))
        over = self._wait(self._is_over, "it is never over", found)
        found.seconds = round(time.monotonic() - began, 2)
        self._end(found)
        if over:
            self._judge(found)
        return found

    def _wait(self, until: Any, else_: str, found: Found | None = None) -> bool:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not until():
            self._notice_take_over(found)
            if time.monotonic() > deadline:
                if found is None:
                    raise RuntimeError(f"{else_}: see {self.directory}")
                found.wrong.append(else_)
                return False
            time.sleep(_LOOK_SECONDS)
        self._notice_take_over(found)
        return True

    def _notice_take_over(self, found: Found | None) -> None:
        if found is None or self.struck is None or found.take_over_seconds is not None:
            return
        if any(hand.agent != self.struck_agent for hand in self._world.hands()[self._struck_hands :]):
            found.take_over_seconds = round(time.monotonic() - self.struck, 2)

    def _until(self, moment: float) -> None:
        while (now := time.monotonic()) < moment or (self._mend and self._mend[0][0] <= now):
            if self._mend and self._mend[0][0] <= now:
                self._mend.pop(0)[1]()
            else:
                self._notice_take_over(self._found)
                time.sleep(min(_LOOK_SECONDS, moment - now))

    def strike(self, fault: Fault) -> None:
        leader = self.leader()
        whom = (leader or NAMES[0]) if fault.whom == "leader" else fault.whom
        mend: Any = None
        match fault.what:
            case "kill":
                self._kill(whom)
                mend = lambda: whom in self._pids or self.start(whom)  # noqa: E731  killed twice, it is started once
            case "stop":
                if whom in self._pids and whom not in self._stopped:
                    os.kill(self._pids[whom], signal.SIGSTOP)
                    self._stopped.add(whom)
                    mend = lambda: self._go_on(whom)  # noqa: E731
            case "cut":
                self._wires[whom].cut()
                mend = self._wires[whom].mend
            case "silence":
                self._wires[whom].fall_silent()
                mend = self._wires[whom].mend
            case "end sessions":
                with suppress(Exception):
                    self._server.terminate_backends()
            case "restart":
                self._server.restart()
            case _:
                frozen = ExitStack()
                frozen.enter_context(self._server.frozen())
                mend = frozen.close
        if whom == leader and self.struck is None and fault.seconds > LEASE_SECONDS:
            self.struck, self.struck_agent = time.monotonic(), whom
            self._struck_hands = len(self._world.hands())
        if mend is not None:
            self._mend.append((time.monotonic() + fault.seconds, mend))
            self._mend.sort(key=lambda each: each[0])
        if fault.what == "freeze":  # nothing can be asked of it meanwhile
            self._until(time.monotonic() + fault.seconds)

    def _kill(self, name: str) -> None:
        pid = self._pids.pop(name, None)
        if pid is not None:
            self._stopped.discard(name)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _go_on(self, name: str) -> None:
        if name in self._stopped:
            self._stopped.discard(name)
            os.kill(self._pids[name], signal.SIGCONT)

    def _is_over(self) -> bool:
        """Nothing is open, and nothing more is done: each guest is away, or what is left may not be moved again now."""
        try:
            journal = PostgresJournal(self._server.url(self._database))
        except LifeboatError:
            return False
        try:
            state = (journal.head(), len(self._world.hands()))
            if unfinished(journal) or needs_recovery(journal):
                self._quiet = None
                return False
            nothing_left = _has_no_more_to_do(journal)
        except LifeboatError:
            return False
        finally:
            journal.close()
        if self._quiet is None or self._quiet[0] != state:
            self._quiet = state, time.monotonic()
        return time.monotonic() - self._quiet[1] > (_EMPTY_SECONDS if nothing_left else _QUIET_SECONDS)

    def _end(self, found: Found) -> None:
        for name, pid in list(self._pids.items()):
            self._go_on(name)
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for name, pid in list(self._pids.items()):
            while time.monotonic() < deadline:
                done, _ = os.waitpid(pid, os.WNOHANG)
                if done:
                    self._pids.pop(name)
                    break
                time.sleep(_LOOK_SECONDS)
            else:
                found.wrong.append(f"agent {name} does not end when told to")

    def _judge(self, found: Found) -> None:
        truth: Truth = self._world.truth()
        hands = self._world.hands()
        found.hands_of = sorted({hand.agent for hand in hands})
        found.two_hands += [
            f"{hand.agent} under epoch {hand.epoch} called {hand.call} on {hand.about}" for hand in hands if hand.late
        ]
        found.wrong += [f"{hand.call} on {hand.about} under no lease" for hand in hands if not hand.epoch]
        found.doubled += sorted(truth.ran_twice) + [vm for vm, where in truth.running_on.items() if len(where) > 1]
        store = FsspecArchiveStore(self._archives.as_uri(), key_file=self.directory / "key")
        archived: set[str] = set()
        for entry in store.entries():
            try:
                archived.add(store.verify(entry.id).vm_uuid)
            except LifeboatError as error:
                found.wrong.append(str(error))
        uuids: dict[str, str] = self._world.uuids()
        found.lost += [vm for vm in VMS if not truth.known_on[vm] and uuids[vm] not in archived]
        found.left_over += [*truth.stamped, *truth.arriving, *truth.stray_images]
        journal = PostgresJournal(self._server.url(self._database))
        try:
            journal.verify()
            found.left_over += [f"lock of {attempt}" for attempt in journal.locks().values()]
            ended = [entry.record.attempt for entry in journal.of(AttemptEnded)]
            stopped = {entry.attempt for entry in journal.of(ShutdownIntended)}
        finally:
            journal.close()
        last = {attempt.action.vm_name: attempt for attempt in ended}
        staying = [vm for vm in VMS if vm not in last or last[vm].outcome is not AttemptOutcome.DONE]
        found.stopped_for_nothing = [vm for vm in staying if vm in last and last[vm].id in stopped]
        found.wrong += [f"{vm} was left on a" for vm in staying if vm not in found.stopped_for_nothing]
        found.outcomes = dict(Counter(str(attempt.outcome) for attempt in ended))
        for vm, count in Counter(
            each.action.vm for each in ended if each.outcome is AttemptOutcome.DONE and each.action.target is not None
        ).items():
            if count > 1:
                found.wrong.append(f"{vm} was moved {count} times")
        found.leaders = self._query("SELECT epoch FROM lifeboat.lease")[0][0]

    def close(self) -> None:
        for name in list(self._pids):
            with suppress(ProcessLookupError, ChildProcessError):
                self._kill(name)
        for wire in self._wires.values():
            wire.close()
        with suppress(Exception):
            self._server.execute(f"DROP DATABASE {self._database} WITH (FORCE)")


def _has_no_more_to_do(journal: PostgresJournal) -> bool:
    """Whether each guest is away, or the last plan, made after all that was tried, moves nothing."""
    plans, ended = journal.of(EvacuationPlanned), journal.of(AttemptEnded)
    away = {each.record.attempt.action.vm for each in ended if each.record.attempt.outcome is AttemptOutcome.DONE}
    return len(away) == len(VMS) or (
        bool(plans and ended) and plans[-1].seq > ended[-1].seq and not plans[-1].record.plan.actions
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="directory for what each run leaves")
    chosen = parser.parse_args(arguments)
    found: list[Found] = []
    with tempfile.TemporaryDirectory(prefix="lb-ag-") as made, AgentHarness(chosen.keep or Path(made)) as harness:
        for number in range(chosen.first, chosen.first + chosen.schedules):
            found.append(harness.run(drawn(chosen.seed, number)))
            if not chosen.json or not found[-1].clean:
                print(found[-1], flush=True)
    took = sorted(each.take_over_seconds for each in found if each.take_over_seconds is not None)
    summary = {
        "schedules": len(found),
        "faults": sum(len(each.faults) for each in found),
        "leases": sum(each.leaders for each in found),
        "take_overs": len(took),
        "slowest_take_over_seconds": took[-1] if took else None,
        "median_take_over_seconds": took[len(took) // 2] if took else None,
        "slowest_seconds": max(each.seconds for each in found),
        **{
            name: sum(bool(getattr(each, name)) for each in found)
            for name in ("two_hands", "doubled", "lost", "left_over", "wrong")
        },
        "lease_seconds": LEASE_SECONDS,
        "simulated": True,
    }
    unclean = [asdict(each) for each in found if not each.clean]
    print(json.dumps(summary | ({"found": unclean} if chosen.json else {})))
    return 1 if unclean else 0


if __name__ == "__main__":
    sys.exit(main())
