"""One look at everything: what does not answer is offline or unread, never stopped and never healthy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pytest
from scenes.telemetry import SIGNALS, T0, Course, seen, steady

from agent.assess.assess import assess
from agent.observe.observation import Observation
from agent.observe.observe import merge_events, observe
from agent.observe.signals import TelemetryCache
from models.errors import HardwareLogUnavailable, MetricsUnavailable
from models.fleet import Fleet, NodeState, VmState
from models.risk.signal import Component, HardwareEvent, HardwareEventKind, Severity, Signal, SignalHistory
from tools.ports.hypervisor import Hypervisor
from tools.simulated.fleet import SimulatedFleet

NOW = datetime.fromtimestamp(T0, UTC)
RAIL, RAIL5 = SIGNALS["psu_12v_volts"], SIGNALS["rail_5v_volts"]


class World:
    """Two simulated nodes, `web` running on the first."""

    def __init__(self) -> None:
        self.simulated = SimulatedFleet()
        self.a, self.b = self.simulated.add_node("node-a"), self.simulated.add_node("node-b")
        self.web = self.simulated.add_vm("node-a", "web", shared=True)

    def look(self, **more: Any) -> Observation:
        nodes: dict[str, Hypervisor] = {"node-a": self.a, "node-b": self.b}
        return observe(more.pop("hypervisors", nodes), now=more.pop("now", NOW), **more)


class Metrics:
    """A MetricsSource over courses by signal name; remembers what it was asked."""

    def __init__(self, **courses: Course | Exception) -> None:
        self.courses = courses
        self.asked: list[tuple[str, float]] = []

    def histories(self, signal: Signal, *, start: datetime, end: datetime, step_seconds: float) -> list[SignalHistory]:
        self.asked.append((signal.name, (end - start).total_seconds()))
        course = self.courses.get(signal.name)
        if course is None:
            return []
        if isinstance(course, Exception):
            raise course
        times = np.arange(start.timestamp(), end.timestamp() + 1e-6, step_seconds)
        return [SignalHistory(signal, "node-a", "part", times, course(times - T0))]


class Log:
    def __init__(self, outcome: Sequence[HardwareEvent] | Exception | threading.Event) -> None:
        self.outcome = outcome

    def events(self, *, since: datetime) -> list[HardwareEvent]:
        if isinstance(self.outcome, threading.Event):
            self.outcome.wait(30)
            return []
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return [event for event in self.outcome if event.time >= since]


def event(ago: float = 60.0, **more: Any) -> HardwareEvent:
    fields = {
        "kind": HardwareEventKind.FAN,
        "component": Component.THERMAL,
        "severity": Severity.WARNING,
        "part": "Fan2",
    }
    return HardwareEvent(node="node-a", time=NOW - timedelta(seconds=ago), **(fields | more))


# ---- the fleet ----


def test_a_fleet_is_what_the_nodes_say() -> None:
    fleet = World().look().fleet
    assert [node.name for node in fleet.nodes] == ["node-a", "node-b"]
    assert [(vm.name, vm.node, vm.state) for vm in fleet.vms] == [("web", "node-a", VmState.RUNNING)]
    assert fleet.observed_at == NOW


def test_a_silent_node_is_offline_and_its_vms_are_not_taken_for_stopped() -> None:
    world = World()
    before = world.look().fleet
    world.simulated.machines["node-a"].reachable = False
    after = world.look(previous=before).fleet
    assert after.node_by_name["node-a"].state is NodeState.OFFLINE
    assert after.node_by_name["node-a"].memory_bytes == before.node_by_name["node-a"].memory_bytes
    assert after.vms == before.vms
    assert after.vms[0].state is VmState.RUNNING


def test_a_node_never_seen_is_offline_with_no_room() -> None:
    world = World()
    world.simulated.machines["node-b"].reachable = False
    node = world.look().fleet.node_by_name["node-b"]
    assert (node.state, node.vm_memory_bytes) == (NodeState.OFFLINE, 0)


def test_a_vm_of_a_silent_node_that_runs_elsewhere_now_is_there() -> None:
    world = World()
    before = world.look().fleet
    moved = before.model_copy(update={"vms": (before.vms[0].model_copy(update={"node": "node-b"}),)})
    world.simulated.machines["node-b"].reachable = False
    assert [(vm.name, vm.node) for vm in world.look(previous=moved).fleet.vms] == [("web", "node-a")]


def test_a_stopped_remainder_elsewhere_does_not_replace_a_vm_of_a_silent_node() -> None:
    world = World()
    before = world.look().fleet
    ran_on_b = before.model_copy(update={"vms": (before.vms[0].model_copy(update={"node": "node-b"}),)})
    world.simulated.machines["node-a"].domains[world.web].state = VmState.SHUTOFF
    world.simulated.machines["node-b"].reachable = False
    (vm,) = world.look(previous=ran_on_b).fleet.vms
    assert (vm.node, vm.state) == ("node-b", VmState.RUNNING)


def copy_to_b(world: World, state: VmState) -> None:
    domain = world.simulated.machines["node-a"].domains[world.web]
    world.simulated.machines["node-b"].domains[world.web] = type(domain)(
        xml=domain.xml, described=domain.described, state=state
    )


@pytest.mark.parametrize("state", [VmState.SHUTOFF, VmState.PAUSED])
def test_of_two_copies_the_running_one_is_the_vm(state: VmState) -> None:
    world = World()
    copy_to_b(world, state)
    observation = world.look()
    assert [(vm.node, vm.state) for vm in observation.fleet.vms] == [("node-a", VmState.RUNNING)]
    assert observation.duplicate_vms == ()


def test_a_vm_running_twice_is_left_out_of_the_fleet_and_told() -> None:
    world = World()
    copy_to_b(world, VmState.RUNNING)
    observation = world.look()
    assert observation.fleet.vms == ()
    ((vm, nodes),) = observation.duplicate_vms
    assert (vm.name, nodes) == ("web", ("node-a", "node-b"))


def test_a_vm_that_moved_between_two_answers_does_not_run_twice() -> None:
    world = World()

    class Late:
        """node-b, asked after the vm had moved there; node-a had answered before that."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.b, name)

        def vms(self) -> Any:
            before = world.look(hypervisors={"node-a": cast("Hypervisor", world.a)}).fleet.vms
            return [vm.model_copy(update={"node": "node-b"}) for vm in before]

        def observe(self, uuid: str) -> Any:
            sight = world.a.observe(uuid)
            world.simulated.machines["node-a"].domains[uuid].state = VmState.SHUTOFF
            return sight

    class Gone:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.a, name)

        def observe(self, uuid: str) -> None:
            return None

    observation = world.look(hypervisors={"node-a": cast("Hypervisor", Gone()), "node-b": cast("Hypervisor", Late())})
    assert [vm.node for vm in observation.fleet.vms] == ["node-b"]
    assert observation.duplicate_vms == ()


def test_a_node_that_hangs_is_offline_after_the_patience_and_after_a_second_next_time() -> None:
    world, stuck = World(), threading.Event()

    class Stuck:
        def node(self) -> Any:
            stuck.wait(30)

    nodes = {"node-a": cast("Hypervisor", world.a), "node-b": cast("Hypervisor", Stuck())}
    try:
        began = time.monotonic()
        first = world.look(hypervisors=nodes, patience_seconds=0.3)
        assert first.fleet.node_by_name["node-b"].state is NodeState.OFFLINE
        assert len(first.fleet.vms) == 1
        world.look(hypervisors=nodes, previous=first.fleet, patience_seconds=60.0)
        assert time.monotonic() - began < 20.0
    finally:
        stuck.set()


# ---- telemetry ----


def test_histories_join_the_day_and_the_last_half_hour() -> None:
    metrics = Metrics(psu_12v_volts=steady(12.1))
    (history,) = World().look(metrics=metrics, signals=[RAIL], scrape_interval_seconds=5.0).histories
    assert history.times[0] == T0 - 86_400
    assert history.times[-1] == T0
    assert np.all(np.diff(history.times) > 0)
    assert np.sum(history.times >= T0 - 1800) == 361
    assert np.all(history.values == 12.1)


def test_a_second_look_asks_only_for_what_is_new() -> None:
    metrics, memory, world = Metrics(psu_12v_volts=lambda t: 12.0 + t / 1e6), TelemetryCache(), World()
    look: Callable[[float], Observation] = lambda at: world.look(  # noqa: E731
        metrics=metrics, signals=[RAIL], scrape_interval_seconds=5.0, memory=memory, now=NOW + timedelta(seconds=at)
    )
    look(0)
    metrics.asked.clear()
    (history,) = look(17).histories
    assert metrics.asked == [("psu_12v_volts", 15.0)]
    assert history.times[-1] == T0 + 17, "the newest sample is never a step old"
    assert history.times[0] == T0 - 86_400
    assert np.allclose(history.values, 12.0 + (history.times - T0) / 1e6)
    (history,) = look(3600).histories
    assert np.sum(history.times > T0 + 1800) == 360
    assert metrics.asked[-1][1] == pytest.approx(86_400 - 1800), "the healthy past is read again after a while"


def test_what_is_kept_for_the_next_look_is_part_of_what_was_seen_not_a_second_copy() -> None:
    memory, world, metrics = TelemetryCache(), World(), Metrics(psu_12v_volts=lambda t: 12.0 + t / 1e6)
    for at in (0, 30, 60):
        seen = seen_values(world.look(metrics=metrics, signals=[RAIL], memory=memory, now=NOW + timedelta(seconds=at)))
        ((kept,),) = [day for _, day in memory.days.values()]
        assert np.shares_memory(seen, kept.values)
        assert np.allclose(kept.values, 12.0 + (kept.times - T0) / 1e6)
        ((newest,),) = [recent for _, recent in memory.recent.values()]
        assert np.shares_memory(seen, newest.values)
        assert np.allclose(newest.values, 12.0 + (newest.times - T0) / 1e6)
    moved = Metrics(psu_12v_volts=lambda t: np.full(t.shape, 11.0))
    other = seen_values(world.look(metrics=moved, signals=[RAIL], memory=memory, now=NOW + timedelta(seconds=90)))
    assert other[0] == pytest.approx(12.0 - 0.0864), "what was read stays as it was"


def test_what_never_moves_takes_no_room_and_is_seen_the_moment_it_does() -> None:
    memory, world = TelemetryCache(), World()
    still = Metrics(psu_12v_volts=steady(12.1))
    before = seen_values(world.look(metrics=still, signals=[RAIL], memory=memory))
    assert before.size > 300
    assert np.all(before == 12.1)
    assert before.strides == (0,), "one number, seen many times"
    moved = Metrics(psu_12v_volts=lambda t: np.where(t > 20.0, 11.9, 12.1))
    later = seen_values(world.look(metrics=moved, signals=[RAIL], memory=memory, now=NOW + timedelta(seconds=30)))
    assert later[-1] == 11.9
    assert later[-3] == 12.1
    assert np.isfinite(later).all()


def seen_values(observation: Observation) -> Any:
    (history,) = observation.histories
    return history.values


def test_a_part_that_vanishes_between_looks_falls_silent() -> None:
    memory, world, metrics = TelemetryCache(), World(), Metrics(psu_12v_volts=steady(12.1), rail_5v_volts=steady(5.0))
    more: dict[str, Any] = {
        "signals": [RAIL, RAIL5],
        "scrape_interval_seconds": 5.0,
        "memory": memory,
        "metrics": metrics,
    }
    world.look(**more)
    del metrics.courses["psu_12v_volts"]
    later = NOW + timedelta(minutes=5)
    observation = world.look(now=later, **more)
    risk = assess(observation, [RAIL, RAIL5], later)[0]
    assert "psu_12v_volts part: not reported for 5 min" in risk.unknown


def test_prometheus_out_of_reach_is_asked_once_and_everything_is_unknown() -> None:
    metrics = Metrics(psu_12v_volts=MetricsUnavailable("Prometheus at http://x is unreachable", hint="look"))
    observation = World().look(metrics=metrics, signals=[RAIL, RAIL5], scrape_interval_seconds=5.0)
    assert len(metrics.asked) == 1
    for risk in assess(observation, [RAIL, RAIL5], NOW):
        assert risk.data_age_seconds is None
        assert risk.unknown == ("metrics: Prometheus at http://x is unreachable",)


def test_one_broken_signal_is_named_and_the_others_are_read() -> None:
    metrics = Metrics(psu_12v_volts=steady(12.1), rail_5v_volts=MetricsUnavailable("it answered only in part"))
    observation = World().look(metrics=metrics, signals=[RAIL, RAIL5], scrape_interval_seconds=5.0)
    risk = assess(observation, [RAIL, RAIL5], NOW)[0]
    assert risk.data_age_seconds == 0.0
    assert "rail_5v_volts: it answered only in part" in risk.unknown


def test_a_wrong_node_label_is_told_by_the_names_that_came() -> None:
    class Elsewhere(Metrics):
        def histories(self, signal: Signal, **more: Any) -> list[SignalHistory]:
            return [seen(signal.name, steady(12.1), 0.0, node="10.0.0.5")]

    observation = World().look(metrics=Elsewhere(), signals=[RAIL])
    assert observation.unmatched_nodes == ("10.0.0.5",)
    risk = assess(observation, [RAIL], NOW)[0]
    assert "10.0.0.5 instead: check prometheus.node_label" in risk.unknown[0]
    assert risk.data_age_seconds is None


def test_a_component_nobody_reports_is_named() -> None:
    observation = World().look(metrics=Metrics(psu_12v_volts=steady(12.1)), signals=list(SIGNALS.values()))
    risk = assess(observation, list(SIGNALS.values()), NOW)[0]
    silent = [line.split(":")[0] for line in risk.unknown]
    assert silent == ["thermal", "memory", "storage", "network"]


# ---- hardware logs ----


def test_events_of_all_sources_come_in_order_and_once() -> None:
    bmc = [event(100), event(40, severity=Severity.CRITICAL)]
    collected = [event(97), event(31, severity=Severity.CRITICAL), event(20)]
    found = World().look(logs={"node-a": [Log(bmc), Log(collected)]}).events
    assert [(NOW - e.time).seconds for e in found] == [100, 40, 20]


def test_flaps_of_one_source_are_not_taken_for_one() -> None:
    flaps = [event(ago) for ago in (36, 24, 12)]
    assert merge_events([flaps]) == flaps


def test_a_log_that_fails_is_unknown_for_its_node_only() -> None:
    broken = HardwareLogUnavailable("BMC 10.0.0.1 of node 'node-a' gave no event log: refused")
    observation = World().look(logs={"node-a": [Log(broken)], "node-b": [Log([])]})
    a, b = assess(observation, [], NOW)
    assert a.unknown == ("hardware log: BMC 10.0.0.1 of node 'node-a' gave no event log: refused",)
    assert b.unknown == ()


def test_a_log_that_hangs_does_not_hold_the_look_up() -> None:
    hanging = threading.Event()
    try:
        observation = World().look(logs={"node-a": [Log(hanging)]}, patience_seconds=0.2)
        assert [failed.what for failed in observation.unread] == ["hardware log"]
    finally:
        hanging.set()


# ---- risks ----


def test_there_is_one_risk_for_each_node_of_the_fleet_in_its_order() -> None:
    observation = World().look(metrics=Metrics(psu_12v_volts=steady(12.1)), signals=[RAIL])
    risks = assess(observation, [RAIL], NOW, simulated=True)
    assert [risk.node for risk in risks] == ["node-a", "node-b"]
    assert all(risk.simulated and risk.assessed_at == NOW and risk.model and risk.basis for risk in risks)
    assert risks[1].data_age_seconds is None


def test_assessing_twice_gives_the_same_risks() -> None:
    observation = World().look(metrics=Metrics(psu_12v_volts=steady(12.1, spread=0.02)), signals=[RAIL])
    assert assess(observation, [RAIL], NOW) == assess(observation, [RAIL], NOW)


def test_events_alone_make_a_risk_and_no_age() -> None:
    fleet: Fleet = World().look().fleet
    risk = assess(Observation(at=NOW, fleet=fleet, events=(event(severity=Severity.CRITICAL),)), [], NOW)[0]
    assert risk.probability["2h"] > 0.1
    assert risk.data_age_seconds is None
