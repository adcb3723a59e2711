"""The demo without root or QEMU: the same loop, on simulated nodes, telemetry and guests. Marked as such everywhere."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from agent.actions.resources import Resources
from agent.assess.assess import assess
from agent.documents import read_policy
from agent.llm.choose import planner_named
from agent.observe.observe import observe
from agent.observe.signals import TelemetryCache
from agent.service.session import Session
from agent.settings import Settings
from lab.demo.stage import DEMO_POLICY, SECONDS_TO_ERRORS, GuestWatch, MoveMeter, Report
from lab.hardware import replay
from lab.hardware.physics import Machine
from lab.hardware.trajectory import Fault
from models.fleet import Fleet, Priority, Vm, VmState
from models.risk.risk import Risk
from models.risk.signal import HardwareEvent, Signal, SignalHistory
from tools.archive.store import FsspecArchiveStore
from tools.clock import SystemClock
from tools.domain.labels import Labels
from tools.journal import local_lease, open_journal
from tools.ports.clock import Clock
from tools.signals import load_catalogue
from tools.simulated.fleet import SimulatedFleet

_SCRAPE_SECONDS = 5.0
_SAMPLE_SECONDS = 0.01
_MIB = 1 << 20


class SimulatedMetrics:
    """What a Prometheus beside the simulated nodes would answer, out of `lab.hardware.physics`. SYNTHETIC."""

    def __init__(self, nodes: tuple[str, ...], signals: Sequence[Signal], *, seed: int, epoch: float) -> None:
        self._machines = {node: Machine(node, seed, epoch) for node in nodes}
        self._signals = signals
        self.faults: list[Fault] = []
        self.dead: dict[str, float] = {}
        """node → when it died, unix seconds"""

    def histories(self, signal: Signal, *, start: datetime, end: datetime, step_seconds: float) -> list[SignalHistory]:
        everything = self._at(start.timestamp(), end.timestamp(), step_seconds, len(self.faults))
        return [self._until_death(history) for history in everything if history.signal.name == signal.name]

    @lru_cache(maxsize=8)  # noqa: B019 — every signal of one observation asks for the same times
    def _at(self, start: float, end: float, step: float, _faults: int) -> list[SignalHistory]:
        times = np.arange(np.ceil(start / step) * step, end + step / 1e6, step)
        return [
            history
            for node, machine in self._machines.items()
            for history in replay.histories(
                machine, times, [fault for fault in self.faults if fault.node == node], signals=self._signals
            )
        ]

    def _until_death(self, history: SignalHistory) -> SignalHistory:
        died = self.dead.get(history.node)
        if died is None:
            return history
        values = np.where(history.times < died, history.values, np.nan)
        return SignalHistory(history.signal, history.node, history.part, history.times, values)


class _SimulatedView:
    def __init__(self, boots: tuple[str, ...], gaps: float) -> None:
        self.boot_ids = boots
        self.blackout_seconds = gaps
        self.counter_unbroken = len(boots) == 1
        self.lost_writes = 0


class _SimulatedWatch:
    """Samples the truth every 10 ms: does this vm run somewhere, and is it the same boot?"""

    def __init__(self, stage: SimulatedStage, vm: str) -> None:
        self._stage, self._vm = stage, vm
        self._seen: list[tuple[float, str]] = []
        threading.Thread(target=self._run, daemon=True, name=f"watch {vm}").start()

    def mark(self) -> float:
        return self._stage.clock.monotonic()

    def seen_since(self, mark: float) -> _SimulatedView:
        seen = [each for each in list(self._seen) if each[0] >= mark]
        times = [mark, *(at for at, _ in seen), self._stage.clock.monotonic()]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        return _SimulatedView(tuple(dict.fromkeys(boot for _, boot in seen)), max(gaps))

    def _run(self) -> None:
        while not self._stage.closed.wait(_SAMPLE_SECONDS):
            if self._stage.fleet.running_on(self._vm):
                self._seen.append((self._stage.clock.monotonic(), self._stage.boot_of(self._vm)))


class SimulatedStage:
    """Three simulated nodes and seven simulated guests, as the lab has them."""

    simulated = True

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.closed = threading.Event()
        self.fleet = SimulatedFleet(clock)
        self._boots: dict[str, int] = {}
        for number, node in enumerate(("node-a", "node-b", "node-c"), start=1):
            self.fleet.add_node(node, memory_bytes=8 << 30)
            machine = self.fleet.machines[node]
            machine.node = machine.node.model_copy(
                update={"failure_domain": f"rack-{number}", "migration_bytes_per_second": 60e6}
            )
        self._add_guests()
        self.clock = clock
        now = clock.now().timestamp()
        self._signals = load_catalogue(None)
        self._metrics = SimulatedMetrics(tuple(self.fleet.machines), self._signals, seed=7, epoch=now - 2 * 86_400)
        self._memory = TelemetryCache()
        self._previous: Fleet | None = None
        settings = Settings(
            simulated=True, state_dir=directory / "state", archive_url=(directory / "archives").as_uri()
        )
        hands = Resources(
            nodes=self.fleet.hypervisors(),
            clock=clock,
            journal=open_journal(settings),
            archives=FsspecArchiveStore(
                settings.archive_url, key_file=settings.state_dir / "archive-signing.key", clock=clock
            ),
            watch=self._meter,
        )
        self.session = Session(
            settings=settings,
            hands=hands,
            policy=read_policy(DEMO_POLICY),
            look=self._look,
            planner=planner_named("solver", settings.llm),
            lease=local_lease(settings.state_dir),
            unled=hands.journal,
        )
        self._watches: Mapping[str, _SimulatedWatch] = {
            vm.name: _SimulatedWatch(self, vm.uuid) for node in self.fleet.hypervisors().values() for vm in node.vms()
        }

    def watch(self, vm: Vm) -> GuestWatch:
        return self._watches[vm.name]

    def break_psu(self, node: str) -> None:
        self._metrics.faults.append(
            Fault(
                node=node,
                kind="psu",
                onset=self.clock.now().timestamp(),
                seconds_to_errors=SECONDS_TO_ERRORS,
                seconds_to_death=None,
            )
        )

    def kill(self, node: str) -> None:
        self._metrics.dead[node] = self.clock.now().timestamp()
        self.fleet.kill_node(node)

    def alarms(self, node: str, since: datetime) -> list[HardwareEvent]:
        del node, since
        return []  # simulated nodes have no BMC, and nothing here lasts until the errors begin

    def copies(self, uuid: str) -> int:
        return len(self.fleet.running_on(uuid))

    def answers(self, vm: Vm, seconds: float) -> str | None:
        del seconds
        return self.boot_of(vm.uuid) if self.fleet.running_on(vm.uuid) else None

    def boot_of(self, uuid: str) -> str:
        return f"simulated-{uuid[:8]}"

    def close(self) -> None:
        self.closed.set()
        self.session.hands.journal.close()

    def _look(self) -> tuple[Fleet, list[Risk]]:
        now = self.session.hands.clock.now()
        observation = observe(
            self.fleet.hypervisors(),
            now=now,
            metrics=self._metrics,
            signals=self._signals,
            scrape_interval_seconds=_SCRAPE_SECONDS,
            previous=self._previous,
            memory=self._memory,
        )
        self._previous = observation.fleet
        return observation.fleet, assess(observation, self._signals, now, simulated=True)

    @contextmanager
    def _meter(self, vm: Vm) -> Generator[MoveMeter]:
        yield MoveMeter(self._watches[vm.name])

    def _add_guests(self) -> None:
        def add(node: str, name: str, priority: Priority, *, shared: bool, dirty: float = 0.0) -> None:
            inference = priority is Priority.HIGH
            labels = Labels(
                priority, "inference" if inference else "batch", None, not inference, f"udp://192.0.2.{len(name)}:7777"
            )
            self.fleet.add_vm(
                node,
                name,
                memory_bytes=256 * _MIB,
                labels=labels,
                disk_bytes=(64 * _MIB,),
                shared=shared,
                dirty_bytes_per_second=dirty,
                state=VmState.RUNNING,
            )

        add("node-a", "infer-1", Priority.HIGH, shared=True)
        add("node-a", "infer-2", Priority.HIGH, shared=True, dirty=4e6)
        add("node-a", "infer-3", Priority.HIGH, shared=False)
        add("node-a", "batch-1", Priority.LOW, shared=False)
        add("node-a", "batch-2", Priority.LOW, shared=False, dirty=8e6)
        add("node-b", "infer-4", Priority.HIGH, shared=True)
        add("node-c", "batch-3", Priority.LOW, shared=False)


@contextmanager
def simulated_stage(report: Report, clock: Clock | None = None) -> Generator[SimulatedStage]:
    """Simulated nodes in a directory of their own, removed at the end. `clock`: a virtual one plays it without waiting."""
    with tempfile.TemporaryDirectory(prefix="lifeboat-simulated-") as directory:
        stage = SimulatedStage(Path(directory), clock or SystemClock())
        report("three simulated nodes and seven simulated guests")
        try:
            yield stage
        finally:
            with suppress(OSError):
                stage.close()
