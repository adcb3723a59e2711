"""A question to answer: a plan for one node, the people of a policy, and the journal it stands in."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from agent.approve.proposals import ask, policy_digest
from models.fleet import Fleet, Node, Vm
from models.plan import Action, ActionKind, Approval, Plan, Verdict
from models.policy.approvers import ApproverRule, Occasion, TwoPeoplePolicy
from models.policy.policy import ApprovalPolicy, Policy
from models.proposals.drift import touched_by
from models.proposals.rights import needed
from models.proposals.states import Proposal, Question
from models.risk.risk import Driver, Risk
from tools.clock import seconds_between
from tools.ports.journal import Journal
from tools.ports.records.evacuations import EvacuationPlanned


class StoppedClock:
    """Stands at a moment. What passes for the host's uptime passes with it, until `set_wall_clock`."""

    def __init__(self, time: datetime) -> None:
        self.time, self._set = time, timedelta()

    def now(self) -> datetime:
        return self.time + self._set

    def set_wall_clock(self, by: timedelta) -> None:
        """As somebody does who sets the host's clock."""
        self._set += by

    def monotonic(self) -> float:
        return self.time.timestamp()

    def uptime(self) -> str:
        return f"stopped:{self.time.timestamp()}"

    def seconds_since(self, uptime: str) -> float | None:
        return seconds_between(uptime, self.uptime())

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.is_set()


def at(time: datetime) -> StoppedClock:
    return StoppedClock(time)


NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TTL = timedelta(minutes=15)
PEOPLE: dict[str, tuple[str, ...]] = {
    "ana": ("terminal:ana", "slack:UANA"),
    "tom": ("terminal:tom", "slack:UTOM"),
    "eve": ("slack:UEVE",),
    "boss": ("terminal:boss",),
}


def policy(**approval: object) -> Policy:
    """ana, tom and eve may; boss from half of the time on. Two for what stops guests."""
    return Policy(
        approval=ApprovalPolicy.model_validate(
            {
                "people": PEOPLE,
                "groups": {"ops": ("ana", "tom", "eve"), "leads": ("boss",)},
                "approvers": (ApproverRule(may=("ops",), then=("leads",)),),
                **approval,
            }
        )
    )


ALONE = policy(two_people=TwoPeoplePolicy(stops_guests=False))
"""one person is enough for everything"""


def fleet(*, names: tuple[str, ...] = ("web", "batch")) -> Fleet:
    nodes = tuple(Node(name=f"node-{x}", memory_bytes=1 << 34, cpus=8) for x in "abc")
    vms = [Vm(uuid=f"vm-{i}", name=name, node="node-a", memory_bytes=1 << 30) for i, name in enumerate(names)]
    elsewhere = Vm(uuid="vm-far", name="far", node="node-c", memory_bytes=1 << 30)
    return Fleet(observed_at=NOON, nodes=nodes, vms=(*vms, elsewhere))


def plan(of: Fleet, *, archive: bool = False) -> Plan:
    def action(vm: Vm, last: bool) -> Action:
        if archive and last:
            return Action(
                kind=ActionKind.COLD_ARCHIVE, vm=vm.uuid, vm_name=vm.name, source="node-a",
                reason="low priority, its owner agreed", estimated_seconds=40, estimated_downtime_seconds=40,
            )  # fmt: skip
        return Action(
            kind=ActionKind.LIVE_MIGRATE, vm=vm.uuid, vm_name=vm.name, source="node-a", target="node-b",
            reason="most room", estimated_seconds=9, estimated_downtime_seconds=0.15,
        )  # fmt: skip

    vms = of.vms_on("node-a")
    return Plan(
        created_at=NOON,
        fleet_sha256=of.digest(),
        evacuating=("node-a",),
        actions=tuple(action(vm, vm is vms[-1]) for vm in vms),
        expected_loss=1.86,
        expected_loss_if_nothing_is_done=197.2,
    )


def question(
    of: Plan,
    fleet_then: Fleet,
    under: Policy,
    *,
    name: str = "evac-1",
    requested_by: str = "lifeboat",
    at: datetime = NOON,
) -> Question:
    risk = Risk(
        node="node-a",
        probability={"2h": 0.93},
        drivers=(Driver(signal="psu_12v_volts", why="PSU1 12 V: 11.52 V, falling 0.04 V/h, limit 11.40 V"),),
        data_age_seconds=4.0,
    )
    return Question(
        id=name,
        plan=of,
        verdict=Verdict(plan_sha256=of.digest(), passed=True, approval=Approval.HUMAN, results=()),
        touched=touched_by(of, fleet_then),
        policy_sha256=policy_digest(under),
        requested_by=requested_by,
        occasions={"node-a": Occasion.EVACUATE},
        risks=(risk,),
        needs=needed(of, under.approval),
        asked_at=at,
        time_to_live=TTL,
    )


@dataclass
class Asked:
    """A question in a journal."""

    journal: Journal
    policy: Policy
    proposal: Proposal


def ask_about(
    journal: Journal, under: Policy, *, name: str = "evac-1", archive: bool = False, requested_by: str = "lifeboat",
    at: datetime = NOON, vms: tuple[str, ...] = ("web", "batch"), silence_is_yes: bool = False,
) -> Asked:  # fmt: skip
    there = fleet(names=vms)
    made = plan(there, archive=archive)
    asked = question(made, there, under, name=name, requested_by=requested_by, at=at)
    asked = asked.model_copy(update={"silence_is_yes": silence_is_yes})
    journal.append(EvacuationPlanned(plan=asked.plan, verdict=asked.verdict), now=at, evacuation=name)
    return Asked(journal, under, ask(journal, asked, clock=StoppedClock(at)))
