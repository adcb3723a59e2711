"""What the journal remembers of moves that came to nothing, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.state.refusals import fleet_as_known
from models.evacuation import ArchiveFacts, Attempt, AttemptOutcome
from models.fleet import Fleet, Node, Vm, VmState
from models.plan import Action, ActionKind
from models.policy.policy import Policy
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.attempts import AttemptEnded, MoveRefused, ShutdownIntended
from tools.ports.records.cold import Archived

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
LIVE, COLD, ARCHIVE = ActionKind.LIVE_MIGRATE, ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


def known(journal: SqliteJournal, *, after: float = 0.0, incarnation: str = "first", **fields: object) -> Vm:
    """The vm as the fleet has it, so many minutes later."""
    vm = Vm.model_validate(
        {"uuid": "u", "name": "x", "node": "a", "memory_bytes": 1, "incarnation": incarnation, **fields}
    )
    nodes = tuple(Node(name=name, memory_bytes=1 << 30, cpus=1) for name in "ab")
    fleet = Fleet(observed_at=NOW, nodes=nodes, vms=(vm,))
    return fleet_as_known(fleet, journal, Policy(), NOW + timedelta(minutes=after)).vms[0]


def refuse(journal: SqliteJournal, *, target: str | None = None) -> None:
    record = MoveRefused(vm="u", move=LIVE, target=target, why="State blocked by virtio-gpu", incarnation="first")
    journal.append(record, now=NOW, evacuation="e", attempt="e-000")


def ended(
    journal: SqliteJournal,
    outcome: AttemptOutcome,
    *,
    minute: int = 0,
    kind: ActionKind = LIVE,
    stopped: bool = False,
    code: str = "migration-failed",
) -> None:
    at = NOW + timedelta(minutes=minute)
    action = Action(kind=kind, vm="u", source="a", target=None if kind is ARCHIVE else "b")
    facts = ArchiveFacts(id="arch", sha256="0", stored_bytes=1, original_bytes=1, verified=True)
    attempt = Attempt(
        id=f"e-{minute}",
        action=action,
        started_at=at,
        ended_at=at,
        outcome=outcome,
        message="the link broke",
        error_code=code if outcome is AttemptOutcome.FAILED else None,
        archive=facts if kind is ARCHIVE and outcome is AttemptOutcome.DONE else None,
    )
    if stopped:
        journal.append(ShutdownIntended(), now=at, evacuation="e", attempt=attempt.id)
    if attempt.archive is not None:
        made = Archived(archive=facts.id, sha256=facts.sha256, stored_bytes=1, vm="u", node="a")
        journal.append(made, now=at, evacuation="e", attempt=attempt.id)
    journal.append(AttemptEnded(attempt=attempt), now=at, evacuation="e", attempt=attempt.id)


def why(vm: Vm, kind: ActionKind, target: str | None = None) -> str | None:
    found = [each.why for each in vm.learned_obstacles if each.kind is kind and each.target == target]
    return "; ".join(found) or None


def test_a_lasting_refusal_stands_with_its_reason_and_where_it_came_from(journal: SqliteJournal):
    refuse(journal)
    vm = known(journal)
    assert "State blocked by virtio-gpu" in str(why(vm, LIVE))
    assert "e-000" in str(why(vm, LIVE))
    assert (why(vm, COLD), why(vm, ARCHIVE), why(vm, LIVE, "b")) == (None, None, None)


def test_it_is_forgotten_when_the_guest_is_another_or_its_time_is_over(journal: SqliteJournal):
    refuse(journal)
    assert why(known(journal, incarnation="second"), LIVE) is None
    assert why(known(journal, after=359), LIVE) is not None
    assert why(known(journal, after=361), LIVE) is None


def test_what_one_target_refused_stands_for_that_target_alone(journal: SqliteJournal):
    refuse(journal, target="b")
    assert why(known(journal), LIVE) is None
    assert why(known(journal), LIVE, "b") is not None


def test_a_plan_agreed_to_does_not_lapse_when_something_is_learned(journal: SqliteJournal):
    def digest(*vms: Vm) -> str:
        nodes = (Node(name="a", memory_bytes=1, cpus=1),)
        return Fleet(observed_at=NOW, nodes=nodes, vms=vms).digest()

    before = known(journal)
    refuse(journal)
    assert known(journal) != before
    assert digest(known(journal)) == digest(before)


def test_a_failed_move_is_tried_again_once_and_then_left_for_a_while(journal: SqliteJournal):
    ended(journal, AttemptOutcome.FAILED)
    assert why(known(journal, after=1), LIVE, "b") is None
    ended(journal, AttemptOutcome.FAILED, minute=2)
    left = str(why(known(journal, after=3), LIVE, "b"))
    assert "failed 2 times" in left
    assert "the link broke" in left
    assert why(known(journal, after=33), LIVE, "b") is None


def test_one_that_stopped_its_guest_for_nothing_is_not_repeated_for_any_target(journal: SqliteJournal):
    ended(journal, AttemptOutcome.FAILED, kind=COLD, stopped=True)
    assert "the link broke" in str(why(known(journal, after=1), COLD))
    assert why(known(journal, after=1), LIVE) is None
    assert why(known(journal, after=31), COLD) is None


def test_one_that_lifeboat_itself_left_in_the_middle_is_tried_once_more_since_its_node_may_be_dying(
    journal: SqliteJournal,
):
    ended(journal, AttemptOutcome.FAILED, kind=COLD, stopped=True, code="cut-off")
    assert known(journal, after=1).learned_obstacles == ()
    ended(journal, AttemptOutcome.FAILED, minute=2, kind=COLD, stopped=True, code="cut-off")
    assert "failed 2 times" in str(why(known(journal, after=3), COLD)), "or it would be stopped at each crash"
    assert why(known(journal, after=33), COLD) is None


def test_a_node_that_did_not_answer_is_asked_again(journal: SqliteJournal):
    for minute in range(3):
        ended(journal, AttemptOutcome.FAILED, minute=minute, code="node-unreachable")
    assert known(journal, after=4).learned_obstacles == ()


def test_what_moved_since_starts_anew(journal: SqliteJournal):
    ended(journal, AttemptOutcome.FAILED)
    ended(journal, AttemptOutcome.FAILED, minute=1)
    ended(journal, AttemptOutcome.DONE, minute=2)
    assert known(journal, after=3).learned_obstacles == ()


def test_what_was_archived_and_is_off_needs_no_other_move(journal: SqliteJournal):
    ended(journal, AttemptOutcome.DONE, kind=ARCHIVE)
    off = known(journal, after=1, state=VmState.SHUTOFF)
    assert "arch" in str(why(off, COLD))
    assert "arch" in str(why(off, ARCHIVE))
    assert known(journal, after=1, state=VmState.RUNNING).learned_obstacles == ()
