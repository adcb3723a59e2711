"""What the demo plays on: three nodes that can be watched, broken and killed. Real ones here; simulated ones beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from agent.observe.sources import hardware_logs
from agent.service.session import Session, connect
from agent.settings import Settings
from lab.hardware import faults
from lab.hardware import machine as hardware
from lab.lifecycle.down import down
from lab.lifecycle.up import up
from lab.nodes import guests, probe
from lab.nodes.node import Lab
from models.fleet import Vm
from models.risk.signal import HardwareEvent, Severity

DEMO_POLICY = Path(__file__).with_name("policy.yaml")
SECONDS_TO_ERRORS = 240.0
"""a power supply fails over minutes to days; the demo takes the quick one"""

Report = Callable[[str], None]


class GuestWatch(Protocol):
    """One guest as its clients see it, watched from before the fault until the end."""

    def mark(self) -> float:
        """Now, on this watch's clock."""
        ...

    def seen_since(self, mark: float) -> GuestView: ...


class GuestView(Protocol):
    """What was seen of a guest over a stretch of time."""

    @property
    def blackout_seconds(self) -> float: ...

    @property
    def boot_ids(self) -> tuple[str, ...]: ...

    @property
    def counter_unbroken(self) -> bool: ...

    @property
    def lost_writes(self) -> int: ...


class Stage(Protocol):
    simulated: bool
    session: Session

    def watch(self, vm: Vm) -> GuestWatch: ...

    def break_psu(self, node: str) -> None: ...

    def kill(self, node: str) -> None:
        """The node dies: libvirtd, guests and exporters at once."""
        ...

    def alarms(self, node: str, since: datetime) -> list[HardwareEvent]:
        """What a node's hardware itself has complained about: SEL entries and log lines above information."""
        ...

    def copies(self, uuid: str) -> int:
        """How many processes on this machine run this vm, counted without asking libvirt or lifeboat."""
        ...

    def answers(self, vm: Vm, seconds: float) -> str | None:
        """The boot id a guest answers with within `seconds`; None when it stays silent."""
        ...


class _LabWatch:
    """A prober of the lab, sending every 10 ms."""

    def __init__(self, prober: probe.Probe) -> None:
        self._prober = prober

    def mark(self) -> float:
        return time.monotonic()

    def seen_since(self, mark: float) -> probe.ProbeResult:
        return self._prober.result().since(mark)


class MoveMeter:
    """The blackout of one move, out of the prober that runs all the time."""

    def __init__(self, watch: GuestWatch) -> None:
        self._watch = watch
        self._from = watch.mark()

    def longest_gap_seconds(self) -> float | None:
        return self._watch.seen_since(self._from).blackout_seconds


class LabStage:
    """The real lab: namespaces, libvirtd, QEMU, BMC and Prometheus."""

    simulated = False

    def __init__(self, lab: Lab, session: Session, watches: dict[str, _LabWatch]) -> None:
        self.lab = lab
        self.session = session
        self._watches = watches

    def watch(self, vm: Vm) -> GuestWatch:
        return self._watches[vm.name]

    def break_psu(self, node: str) -> None:
        faults.start(self.lab, node, "psu", seconds_to_errors=SECONDS_TO_ERRORS, seconds_to_death=None)

    def kill(self, node: str) -> None:
        hardware.kill(self.lab, self.lab.node(node), with_bmc=True)

    def alarms(self, node: str, since: datetime) -> list[HardwareEvent]:
        events = [event for log in hardware_logs(self.session.settings)[node] for event in log.events(since=since)]
        return [event for event in events if event.severity is not Severity.INFO]

    def copies(self, uuid: str) -> int:
        return sum(_is_qemu_of(process, uuid) for process in Path("/proc").iterdir() if process.name.isdigit())

    def answers(self, vm: Vm, seconds: float) -> str | None:
        assert vm.probe is not None
        answer = probe.ask(vm.probe, seconds=seconds)
        return answer.boot_id if answer is not None else None


def _is_qemu_of(process: Path, uuid: str) -> bool:
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return state != "Z" and b"qemu-system" in words[0] and uuid.encode() in words


@contextmanager
def lab_stage(name: str, report: Report, *, keep: bool) -> Generator[LabStage]:
    """Bring the lab up, connect lifeboat to it as an operator would, watch every guest; take it all down at the end."""
    watches: dict[str, _LabWatch] = {}
    probers: list[probe.Probe] = []
    lab = up(name, report)
    try:
        for guest in guests.GUESTS:
            prober = probe.Probe(guests.probe_target(lab, guest)).start()
            probers.append(prober)
            watches[guest.name] = _LabWatch(prober)

        @contextmanager
        def meter(vm: Vm) -> Generator[MoveMeter]:
            yield MoveMeter(watches[vm.name])

        with connect(Settings.load(lab.config_path), DEMO_POLICY, watch=meter) as session:
            yield LabStage(lab, session, watches)
    except KeyboardInterrupt:
        report("interrupted: taking the lab down" if not keep else "interrupted: the lab stays up, as asked")
        raise
    finally:
        for prober in probers:
            prober.stop()
        if not keep:
            down(name, lambda _: None)
