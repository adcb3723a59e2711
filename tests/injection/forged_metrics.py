"""What forged numbers can do: k exporters that lie, a fleet where policy asks nobody, and the real loop on simulated nodes.

    python -m tests.injection.forged_metrics

Each node has a guest that moves live, one that may be archived, and one that a device of the host keeps from moving live. Prints
what became of them in an hour. The fleet is well; whatever moves, moves for a lie.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from scenes.telemetry import T0, Floats, changed, seen, steady

from agent.actions.resources import Resources
from agent.approve.approvers import DenyingApprover
from agent.plan import solver
from agent.service.control_loop import ControlLoop, PassOutcome
from models.fleet import Fleet, Priority, Vm, VmState
from models.forecast.limits.node import assess_node
from models.policy.policy import ApprovalMode, ApprovalPolicy, Policy, StoppingPolicy
from models.risk.risk import Risk
from models.risk.signal import Component, HardwareEvent, HardwareEventKind, Severity, SignalHistory
from models.risk.witness import Witness
from tools.archive.store import FsspecArchiveStore
from tools.domain.labels import Labels
from tools.journal.sqlite import SqliteJournal
from tools.simulated.fleet import SimulatedFleet

NODES = 12
AUTO = Policy(
    approval=ApprovalPolicy(
        live_migrate=ApprovalMode.AUTO, cold_migrate=ApprovalMode.AUTO, cold_archive=ApprovalMode.AUTO, max_auto_vms=100
    )
)
TRUSTING = AUTO.model_copy(update={"stopping": StoppingPolicy(witnesses=1)})
PASSES = 12
PASS_SECONDS = 300.0
Lies = Mapping[str, Collection[Witness]]
"""node → which of its witnesses lie"""


def _sags(t: Floats) -> Floats:
    return np.asarray(-0.9 * (t > 0) - 0.2 * ((t // 30) % 2), dtype=np.float64)


def _errs(t: Floats) -> Floats:
    return np.asarray(4.0 * (t > 0), dtype=np.float64)


def _rail(node: str, *, lies: bool) -> SignalHistory:
    level = steady(12.1, spread=0.01)
    course = changed(level, _sags) if lies else level
    return seen("psu_12v_volts", course, 300.0, part="12V", node=node, interval=30.0)


def _memory(node: str, *, lies: bool) -> SignalHistory:
    level = steady(0.0, step=1.0)
    course = changed(level, _errs, step=1.0) if lies else level
    return seen("memory_uncorrected_errors", course, 300.0, part="mc0", node=node, interval=30.0)


def _record(node: str, witness: Witness) -> HardwareEvent:
    kind, component = {
        Witness.BMC_LOG: (HardwareEventKind.VOLTAGE, Component.POWER),
        Witness.HOST_LOG: (HardwareEventKind.MEMORY_UNCORRECTED, Component.MEMORY),
    }[witness]
    return HardwareEvent(
        node=node, time=datetime.fromtimestamp(T0 + 240.0, UTC), kind=kind, component=component, severity=Severity.CRITICAL,
        part="12V" if witness is Witness.BMC_LOG else "DIMM_A1", witness=witness,
    )  # fmt: skip


def risk_of(node: str, lies: Collection[Witness]) -> Risk:
    """What lifeboat makes of a node that is well, when these witnesses say otherwise as loudly as they can."""
    histories = [
        _rail(node, lies=Witness.BMC_METRICS in lies),
        _memory(node, lies=Witness.HOST_METRICS in lies),
    ]
    events = [_record(node, each) for each in lies if each in (Witness.BMC_LOG, Witness.HOST_LOG)]
    return assess_node(node, histories, events, now=T0 + 300.0)


@dataclass
class Fate:
    """What became of the fleet's guests in an hour."""

    nodes: set[str] = field(default_factory=set[str])
    """that were left"""
    moved_live: int = 0
    stopped: int = 0
    asked: int = 0
    """passes that ended with a plan that a person would have to agree to"""
    storm: bool = False


def fate(lies: Lies, policy: Policy, directory: Path) -> Fate:
    """An hour of the loop, nobody there to ask."""
    fleet = SimulatedFleet()
    for n in range(NODES):
        fleet.add_node(f"n{n:02}")
    bound: set[str] = set()
    for n in range(NODES):
        node = f"n{n:02}"
        fleet.add_vm(node, f"web-{n}", shared=True, memory_bytes=1 << 30)
        fleet.add_vm(
            node, f"batch-{n}", labels=Labels(priority=Priority.LOW, cold_archive_allowed=True), memory_bytes=1 << 30
        )
        bound.add(fleet.add_vm(node, f"gpu-{n}", memory_bytes=1 << 30))
    risks = {f"n{n:02}": risk_of(f"n{n:02}", lies.get(f"n{n:02}", ())) for n in range(NODES)}
    journal = SqliteJournal(directory / "journal.sqlite")
    store = FsspecArchiveStore((directory / "archives").as_uri(), key_file=directory / "key", clock=fleet.clock)
    hands = Resources(nodes=fleet.hypervisors(), clock=fleet.clock, journal=journal, archives=store)

    def look() -> tuple[Fleet, list[Risk]]:
        now = fleet.clock.now()
        nodes = fleet.hypervisors().values()
        vms = tuple(_bound(vm, bound) for node in nodes for vm in node.vms())
        told = [risk.model_copy(update={"assessed_at": now, "data_age_seconds": 1.0}) for risk in risks.values()]
        return Fleet(observed_at=now, nodes=tuple(node.node() for node in nodes), vms=vms), told

    loop = ControlLoop(hands=hands, policy=policy, look=look, planner=solver.plan, approver=DenyingApprover())
    before, result = look()[0], Fate()
    for _ in range(PASSES):
        done = loop.run_once()
        if done.evacuation is not None and done.plan is not None:
            result.nodes |= set(done.plan.evacuating)
        refused = done.outcome is PassOutcome.REFUSED
        result.asked += refused and "needs a human" in done.why
        result.storm |= refused and done.verdict is not None and any(f.rule == "storm" for f in done.verdict.failures)
        fleet.clock.sleep(PASS_SECONDS)
    after = look()[0].vm_by_uuid
    for vm in before.vms:
        now = after.get(vm.uuid)
        if now is None or now.state is not VmState.RUNNING or (now.node != vm.node and vm.uuid in bound):
            result.stopped += 1
        elif now.node != vm.node:
            result.moved_live += 1
    journal.close()
    return result


def _bound(vm: Vm, bound: Collection[str]) -> Vm:
    return vm.model_copy(update={"live_obstacle": "a device of the host"}) if vm.uuid in bound else vm


ALL = tuple(Witness)
ROWS: Mapping[str, Lies] = {
    "none": {},
    "1 exporter (BMC's metrics) of 1 node": {"n00": ALL[:1]},
    "1 exporter (on the host) of 1 node": {"n00": ALL[1:2]},
    "both exporters of 1 node": {"n00": ALL[:2]},
    "1 exporter and the SEL of 1 node": {"n00": (Witness.BMC_METRICS, Witness.BMC_LOG)},
    **{f"1 exporter of each of {k} nodes": {f"n{n:02}": ALL[:1] for n in range(k)} for k in (2, 3, 4, 5, 8, 12)},
    **{f"both exporters of each of {k} nodes": {f"n{n:02}": ALL[:2] for n in range(k)} for k in (2, 4, 5)},
}


def main() -> int:
    say = sys.stdout.write
    say(f"{NODES} nodes that are well, {3 * NODES} guests, an hour, policy asks nobody, nobody there to ask\n\n")
    say(
        "| forged | nodes left | moved live | stopped | a person is asked | halted: storm | stopped, `stopping.witnesses: 1` |\n"
    )
    say("|---|---|---|---|---|---|---|\n")
    bad = 0
    for name, lies in ROWS.items():
        with TemporaryDirectory() as one, TemporaryDirectory() as other:
            mine, trusting = fate(lies, AUTO, Path(one)), fate(lies, TRUSTING, Path(other))
        bad += mine.stopped > 0 and all(len(each) < 2 for each in lies.values())
        yes = {True: "yes", False: "no"}
        say(
            f"| {name} | {len(mine.nodes)} | {mine.moved_live} | {mine.stopped} | {yes[mine.asked > 0]} | {yes[mine.storm]} | "
            f"{trusting.stopped} |\n"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
