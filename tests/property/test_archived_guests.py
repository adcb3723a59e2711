"""A guest that was archived is archived again once it ran, or may have run unseen, and never while it cannot have."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from models.fleet import Fleet, Node, NodeState, Vm, VmState
from models.planning.archived import UNSEEN_AFTER, ArchivedGuest, outdated

BEGAN = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
STATES = st.sampled_from([VmState.SHUTOFF, VmState.SHUTOFF, VmState.RUNNING, VmState.PAUSED])
STEPS = st.lists(st.tuples(st.integers(0, 15), STATES, st.booleans()), min_size=1, max_size=12)
"""minutes until the next look, what the guest does from now until then, and whether its node answers at that look"""


@dataclass
class World:
    """One guest on one node, and the agent that looks at them."""

    now: datetime = BEGAN
    archive: ArchivedGuest | None = None
    ran: bool = True
    """the truth: since the archive"""
    unseen_minutes: int = 0
    gaps: bool = False
    """whether it was unseen for long since the archive"""
    held_against: dict[str, str] = field(default_factory=dict[str, str])
    seen: dict[str, datetime] = field(default_factory=dict[str, datetime])

    def step(self, minutes: int, state: VmState, answers: bool) -> None:
        self.now += timedelta(minutes=minutes)
        self.unseen_minutes += minutes
        self.gaps = self.gaps or timedelta(minutes=self.unseen_minutes) > UNSEEN_AFTER
        self.ran = self.ran or state is not VmState.SHUTOFF
        node = Node(name="a", memory_bytes=1, cpus=1, state=NodeState.ACTIVE if answers else NodeState.OFFLINE)
        vm = Vm(uuid="u", name="x", node="a", memory_bytes=1, state=state)
        fleet = Fleet(observed_at=self.now, nodes=(node,), vms=(vm,))
        guests = [self.archive] if self.archive is not None and self.archive.archive not in self.held_against else []
        self.held_against |= outdated(guests, fleet, self.seen, self.now)
        if answers:
            self.seen["a"] = self.now
            self.unseen_minutes = 0
            if state is VmState.SHUTOFF and not self.stands:
                self.archive = ArchivedGuest(vm="u", archive=f"{self.now}-{minutes}", node="a", at=self.now)
                self.ran = self.gaps = False
                self.held_against = {}

    @property
    def stands(self) -> bool:
        return self.archive is not None and self.archive.archive not in self.held_against


@settings(max_examples=100)
@given(STEPS)
def test_an_archive_stands_for_its_guest_until_it_ran_or_may_have(steps: list[tuple[int, VmState, bool]]) -> None:
    world = World()
    for minutes, state, answers in steps:
        archives = world.archive
        world.step(minutes, state, answers)
        if answers and state is not VmState.SHUTOFF:
            assert not world.stands, "it runs: the next time it is off, it is archived again"
        if world.stands and answers:
            assert not world.gaps, "who may have run unseen is archived again"
        if archives is not None and world.archive is archives and not (world.ran or world.gaps):
            assert world.stands, "it did not run, and somebody looked all the while: nothing to archive"
