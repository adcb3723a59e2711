"""Observe: what libvirt, the metrics and the hardware logs say now, gathered into one value.

Nothing is judged here. What did not answer is said to be unread or offline, never left out in silence.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from agent.observe.observation import LogDoubt, Observation, UnreadSource
from agent.observe.signals import TelemetryCache, read_signals
from models.errors import LifeboatError, NodeUnreachable
from models.fleet import Fleet, Node, NodeState, Vm, VmState
from models.risk.signal import HardwareEvent, Signal, SignalHistory
from tools.bounded_call import BoundedCall
from tools.ports.telemetry import DoubtfulLog, HardwareLog, MetricsSource
from tools.ports.vms import VmObservation

EVENTS = timedelta(days=3)
SAME_EVENT_SECONDS = 15.0
PATIENCE_SECONDS = 4.0
"""How long nodes and logs may take to answer."""
KNOWN_OFFLINE_SECONDS = 1.0
"""How long a look waits for a node that was offline in the one before: a dead node must not slow down the others' rescue."""

T = TypeVar("T")


class Inventory(Protocol):
    """As much of a node as a look needs: what a platform or a file can tell."""

    def node(self) -> Node: ...

    def vms(self) -> list[Vm]: ...

    def observe(self, uuid: str) -> VmObservation | None: ...


def observe(
    hypervisors: Mapping[str, Inventory],
    *,
    now: datetime,
    metrics: MetricsSource | None = None,
    signals: Sequence[Signal] = (),
    scrape_interval_seconds: float = 15.0,
    logs: Mapping[str, Sequence[HardwareLog]] | None = None,
    previous: Fleet | None = None,
    memory: TelemetryCache | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Observation:
    """Look at everything at once.

    A node that does not answer within `patience_seconds` (a second, if it was offline before), or says NodeUnreachable, is
    `offline`; it keeps the vms it had in `previous`, as they were, unless one is seen running elsewhere. Signals and logs
    that can't be read are in `unread`. Raises nothing of its own for what does not answer; BadInput from a hypervisor (a
    broken label) passes through.
    """
    looks = {
        name: BoundedCall(lambda h=h: (h.node(), h.vms()), name=f"observe-{name}") for name, h in hypervisors.items()
    }
    log_looks = [
        (node, BoundedCall(lambda log=log: _read_log(log, since=now - EVENTS), name=f"log-{node}"))
        for node, sources in (logs or {}).items()
        for log in sources
    ]
    histories: list[SignalHistory] = []
    unread: list[UnreadSource] = []
    if metrics is not None:
        histories, unread = read_signals(metrics, signals, now, scrape_interval_seconds, memory or TelemetryCache())
    was_offline = {node.name for node in previous.nodes if node.state is NodeState.OFFLINE} if previous else set[str]()
    began = time.monotonic()
    for name, look in looks.items():
        patience = min(patience_seconds, KNOWN_OFFLINE_SECONDS) if name in was_offline else patience_seconds
        look.wait(began + patience - time.monotonic())
    for _, look in log_looks:
        look.wait(began + patience_seconds - time.monotonic())
    fleet, twice = _fleet({name: _outcome(look) for name, look in looks.items()}, hypervisors, previous, now)
    events_by_node: dict[str, list[list[HardwareEvent]]] = defaultdict(list)
    doubts: list[LogDoubt] = []
    for node, look in log_looks:
        outcome = _outcome(look)
        if isinstance(outcome, LifeboatError):
            unread.append(UnreadSource("hardware log", outcome, node))
        else:
            events_by_node[node].append(outcome[0])
            doubts += [LogDoubt(node, *doubt) for doubt in outcome[1]]
    events = [event for sources in events_by_node.values() for event in merge_events(sources)]
    known = set(fleet.node_by_name)
    return Observation(
        at=now,
        fleet=fleet,
        histories=tuple(h for h in histories if h.node in known),
        events=tuple(sorted(events, key=lambda event: event.time)),
        unread=tuple(unread),
        doubts=tuple(doubts),
        unmatched_nodes=tuple(sorted({h.node for h in histories} - known)),
        duplicate_vms=twice,
    )


# ---- libvirt ----


def _fleet(
    looks: Mapping[str, tuple[Node, list[Vm]] | LifeboatError],
    hypervisors: Mapping[str, Inventory],
    previous: Fleet | None,
    now: datetime,
) -> tuple[Fleet, tuple[tuple[Vm, tuple[str, ...]], ...]]:
    nodes: list[Node] = []
    seen: dict[str, list[Vm]] = defaultdict(list)
    for name, look in looks.items():
        if isinstance(look, LifeboatError):
            if not isinstance(look, NodeUnreachable):
                raise look
            before = previous.node_by_name.get(name) if previous else None
            nodes.append(
                before.model_copy(update={"state": NodeState.OFFLINE})
                if before
                else Node(name=name, memory_bytes=0, cpus=1, state=NodeState.OFFLINE)
            )
        else:
            nodes.append(look[0])
            for vm in look[1]:
                seen[vm.uuid].append(vm)
    offline = {node.name for node in nodes if node.state is NodeState.OFFLINE}
    vms: list[Vm] = []
    twice: list[tuple[Vm, tuple[str, ...]]] = []
    for uuid, copies in seen.items():
        running = [vm for vm in copies if vm.state is VmState.RUNNING]
        if len(running) > 1:
            # The nodes were not asked in the same instant: it may have moved in between.
            running = [vm for vm in running if _still_runs(hypervisors[vm.node], uuid)]
        if len(running) > 1:
            twice.append((running[0], tuple(vm.node for vm in running)))
        elif len(running) == 1:
            vms.append(running[0])
        else:
            was = previous.vm_by_uuid.get(uuid) if previous else None
            if was is not None and was.node in offline:
                continue  # what is left here does not run, and where it last ran can't be seen: kept below
            vms.append(
                min(copies, key=lambda vm: (vm.state is VmState.SHUTOFF, was is None or vm.node != was.node, vm.node))
            )
    settled = {vm.uuid for vm in vms} | {vm.uuid for vm, _ in twice}
    if previous is not None:
        vms += [vm for vm in previous.vms if vm.node in offline and vm.uuid not in settled]
    return Fleet(observed_at=now, nodes=tuple(nodes), vms=tuple(sorted(vms, key=lambda vm: (vm.node, vm.name)))), tuple(
        twice
    )


def _still_runs(hypervisor: Inventory, uuid: str) -> bool:
    try:
        observation = hypervisor.observe(uuid)
    except NodeUnreachable:
        return True  # it ran a moment ago, and nobody has seen it stop
    return observation is not None and observation.state is VmState.RUNNING


# ---- hardware logs ----


def _read_log(log: HardwareLog, *, since: datetime) -> tuple[list[HardwareEvent], list[tuple[str, str]]]:
    events = log.events(since=since)
    if not isinstance(log, DoubtfulLog):
        return events, []
    return events, [(log.title, doubt) for doubt in log.doubts()]


def merge_events(sources: Sequence[Sequence[HardwareEvent]]) -> list[HardwareEvent]:
    """One node's events from several logs, in order of time; what two of them tell of the same moment counts once.

    A BMC's record also reaches the collected log, up to `SAME_EVENT_SECONDS` later.
    """
    merged: list[HardwareEvent] = []
    for events in sources:
        known: dict[tuple[object, ...], list[float]] = defaultdict(list)
        for event in merged:
            known[_same(event)].append(event.time.timestamp())
        merged += [
            event
            for event in events
            if not any(abs(at - event.time.timestamp()) <= SAME_EVENT_SECONDS for at in known[_same(event)])
        ]
    return sorted(merged, key=lambda event: event.time)


def _same(event: HardwareEvent) -> tuple[object, ...]:
    return event.kind, event.component, event.severity, event.part, event.asserted


# ---- asking many at once ----


def _outcome(call: BoundedCall[T]) -> T | LifeboatError:
    """The answer, or why there is none; raises what is not a LifeboatError."""
    if not call.over:
        return NodeUnreachable("it did not answer in time", hint="look at the node")
    try:
        return call.result()
    except LifeboatError as error:
        return error
