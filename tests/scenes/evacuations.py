"""Scenes the report tests look at: a PSU that dies, as planned, as it went, and as it goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from models.evacuation import (
    ArchiveFacts,
    Attempt,
    AttemptOutcome,
    Evacuation,
    EvacuationOutcome,
    Evidence,
    Measured,
    NodeLoss,
    ObservedState,
    RiskSample,
    judge_outcome,
)
from models.fleet import Fleet, Node, NodeState, Priority, Vm, VmState
from models.plan import Action, ActionKind, Approval, Plan, PlannedBy, RuleResult, Verdict
from models.policy.policy import Policy
from models.risk.risk import Driver, Risk
from models.situation import Situation

GIB = 1 << 30
MIB = 1 << 20
START = datetime(2026, 11, 23, 4, 0, 0, tzinfo=UTC)
POLICY = Policy()


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def fleet(*, vm_names: dict[str, str] | None = None) -> Fleet:
    names = vm_names or {}
    nodes = tuple(
        Node(name=f"node-{x}", memory_bytes=16 * GIB, memory_reserved_bytes=GIB, cpus=8, failure_domain=f"rack-{i}")
        for i, x in enumerate("abc")
    )

    def vm(number: int, name: str, node: str, priority: Priority, workload: str, dirty: float | None) -> Vm:
        uuid = f"00000000-0000-4000-8000-00000000000{number}"
        return Vm(
            uuid=uuid, name=names.get(name, name), node=node, memory_bytes=2 * GIB, vcpus=2, priority=priority,
            workload=workload, dirty_bytes_per_second=dirty, disk_bytes=4 * GIB,
            cold_archive_allowed=priority is Priority.LOW,
        )  # fmt: skip

    high, low = Priority.HIGH, Priority.LOW
    return Fleet(
        observed_at=at(-2),
        nodes=nodes,
        vms=(
            vm(1, "inference-1", "node-a", high, "inference", 22.0 * MIB),
            vm(2, "inference-2", "node-a", high, "inference", 9.0 * MIB),
            vm(3, "web-1", "node-a", Priority.NORMAL, "web", None),
            vm(4, "batch-1", "node-a", low, "batch", 30.0 * MIB),
            vm(5, "batch-2", "node-a", low, "batch", 30.0 * MIB),
            vm(6, "inference-3", "node-b", high, "inference", 20.0 * MIB),
            vm(7, "batch-3", "node-c", low, "batch", 20.0 * MIB),
        ),
    )


def risks(*, simulated: bool = True) -> list[Risk]:
    driver = Driver(signal="psu_12v_volts", why="PSU1 12 V: 11.52 V, falling 0.04 V/h, limit 11.40 V")
    fan = Driver(signal="psu_temperature", why="PSU1 temperature: 58 °C, rising, limit 65 °C")

    def risk(node: str, p: tuple[float, float, float, float], *drivers: Driver, **more: object) -> Risk:
        curve = dict(zip(("30m", "2h", "24h", "7d"), p, strict=True))
        return Risk.model_validate(
            {"node": node, "probability": curve, "drivers": drivers, "data_age_seconds": 4.0, "assessed_at": at(-1),
             "model": "limits-and-drift 1", "basis": "documented limits", "simulated": simulated} | more
        )  # fmt: skip

    return [
        risk("node-a", (0.61, 0.93, 0.99, 0.999), driver, fan),
        risk("node-b", (0.0004, 0.002, 0.02, 0.1)),
        risk("node-c", (0.0003, 0.001, 0.01, 0.08), unknown=("nic_errors: two series for one node",)),
    ]


def situation(of: Fleet, risks_then: Sequence[Risk] | None = None, *, now: datetime | None = None) -> Situation:
    """What the plan is made from; without more the risks of `risks()`, at the start."""
    return Situation(fleet=of, risks=risks() if risks_then is None else risks_then, policy=POLICY, now=now or at(0))


def plan(of: Fleet, *, archive: bool = True) -> Plan:
    targets = ("node-b", "node-c", "node-b")
    actions: list[Action] = []
    for index, vm in enumerate(of.vms_on("node-a")):
        cold = archive and vm.priority is Priority.LOW
        actions.append(
            Action(
                kind=ActionKind.COLD_ARCHIVE if cold else ActionKind.LIVE_MIGRATE,
                vm=vm.uuid,
                vm_name=vm.name,
                source="node-a",
                target=None if cold else targets[index % 3],
                reason="low priority and its owner agreed: archived" if cold else "most room, no shared rack",
                wave=index // 2,
                estimated_start_seconds=8.0 * (index // 2),
                estimated_seconds=14.0 if cold else 7.5,
                estimated_downtime_seconds=14.0 if cold else 0.15,
                risk_before_safe=0.004 + 0.002 * index,
            )
        )
    return Plan(
        created_at=at(3), fleet_sha256=of.digest(), evacuating=("node-a",), actions=tuple(actions),
        expected_loss=1.86, expected_loss_if_nothing_is_done=197.2,
        planned_by=PlannedBy(planner="solver"), simulated=True,
    )  # fmt: skip


def verdict(of: Plan, *, failing: str = "") -> Verdict:
    rules = [
        ("every-vm-once", "5 vms, 5 actions, each vm once", 1),
        ("target-memory", "node-b keeps 8.2 GiB, node-c keeps 10 GiB", 8),
        ("target-risk", "highest risk of a target: 0.2 % within 2h, allowed 10 %", 8),
        ("limits", "at most 2 leave node-a at once, allowed 2", 8),
        ("data-age", "newest sample 4 s old, allowed 5m", 11),
        ("archive-consent", "batch-1 and batch-2 carry their owner's consent", None),
    ]
    results = tuple(
        RuleResult(rule=rule, passed=rule != failing, why=why, invariant=number) for rule, why, number in rules
    )
    return Verdict(
        plan_sha256=of.digest(), passed=not failing, approval=Approval.HUMAN,
        approval_why="cold_archive asks", results=results,
    )  # fmt: skip


def attempt(action: Action, number: int, outcome: AttemptOutcome = AttemptOutcome.DONE) -> Attempt:
    begin, took = 15 + 9 * (number // 2), (6.2 + number if action.target else 16.5)
    end = at(begin + took)
    done = outcome is AttemptOutcome.DONE
    running = action.target if done and action.target else action.source
    seen = ObservedState.RUNNING if action.target or not done else ObservedState.SHUTOFF
    evidence = [Evidence(node=running, seen=seen, observed_at=end, detail="same uuid, 1 disk")]
    if action.target:
        other = action.source if running == action.target else action.target
        evidence.append(Evidence(node=other, seen=ObservedState.ABSENT, observed_at=end))
    archive = ArchiveFacts(
        id=f"2026-11-23-batch-{number}", sha256=f"{number:02d}" + "9f3c" * 15 + "ab",
        stored_bytes=410 * MIB + number, original_bytes=4 * GIB, verified=True,
    )  # fmt: skip
    return Attempt(
        id=f"attempt-{number}", action=action, started_at=at(begin), ended_at=end, outcome=outcome,
        message="" if done else "the target refused the connection; the vm runs on the source as before",
        error_code=None if done else "migration-failed",
        measured=Measured(
            seconds=took, downtime_seconds=0.12 + 0.03 * number if action.target else None,
            blackout_seconds=0.168 + 0.02 * number if action.target else None,
            bytes_transferred=(2 * GIB + number * 90 * MIB), iterations=4 if action.target else None,
        ),
        archive=archive if done and not action.target else None,
        evidence=tuple(evidence),
    )  # fmt: skip


def evacuation(of: Plan, attempts: tuple[Attempt, ...], *, node_dies: bool = True) -> Evacuation:
    timeline: list[RiskSample] = []
    for step in range(-24, 13):
        p = 0.03 + 0.9 * min(1.0, max(0.0, (step + 15) / 18)) ** 2
        curve = {"30m": p * 0.6, "2h": p, "24h": min(1.0, p * 1.1), "7d": min(1.0, p * 1.2)}
        timeline.append(RiskSample(time=at(step * 5), node="node-a", probability=curve))
        for node, base in (("node-b", 0.012), ("node-c", 0.02)):
            q = base + 0.003 * ((step * 7) % 5)
            timeline.append(
                RiskSample(time=at(step * 5), node=node, probability={"30m": q / 2, "2h": q, "24h": 2 * q, "7d": 3 * q})
            )
    return Evacuation(
        id="ev-20261123-0400-node-a", plan=of, verdict=verdict(of), approved_by="operator@example.net",
        approved_at=at(9), started_at=at(14), ended_at=at(52),
        outcome=judge_outcome(attempts, frozenset(a.vm for a in of.moves)) if attempts else EvacuationOutcome.REFUSED,
        attempts=attempts, risk_timeline=tuple(timeline),
        nodes_lost=(NodeLoss(node="node-a", at=at(58), detail="libvirt and BMC silent"),) if node_dies else (),
    )  # fmt: skip


def after(of: Fleet, attempts: tuple[Attempt, ...], *, node_dies: bool = True) -> Fleet:
    where = {a.action.vm: a.action.target for a in attempts if a.outcome is AttemptOutcome.DONE}
    vms = tuple(
        vm.model_copy(
            update={"node": where[vm.uuid]} if where.get(vm.uuid)
            else {"state": VmState.SHUTOFF} if vm.uuid in where else {}
        )
        for vm in of.vms
    )  # fmt: skip
    nodes = tuple(
        node.model_copy(update={"state": NodeState.OFFLINE}) if node_dies and node.name == "node-a" else node
        for node in of.nodes
    )
    return Fleet(observed_at=at(60), nodes=nodes, vms=vms)
