"""A journal of the version before typed records: what was folded out of it then is folded out of it now.

`scenes/journal_v1/journal.sqlite` was written by that version on a SIMULATED fleet: an archive, wiped and restored; a cold
move whose target fell silent; pins; a pass that nobody agreed to and one that was carried out; an evacuation that was
begun, paused, resumed and given up, with a throttled guest on a node that fell silent, a guest that ran twice, and one
whose move was cut off by a kill.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.actions.cleanup import Left, left_behind
from agent.actions.live.disk_throttle import unrestored_limits
from agent.actions.runner import needs_recovery, open_intents
from agent.assess.tiers import Tiers
from agent.observe.incidents import evacuations
from agent.state.certificate_pins import Pins
from agent.state.requests import read_requests, unfinished
from agent.state.status import read_status
from models.policy.policy import Policy
from models.risk.tier import Tier
from tools.clock import VirtualClock
from tools.journal import open_journal
from tools.ports.journal import Journal
from tools.ports.records.evacuations import EvacuationApproved, EvacuationStarted, PauseRequested

LATE, LATE2, LATE3 = (
    "6093a1ab-9330-5c6f-abec-0a5876d8f889",
    "97cdd7f8-f9df-5a55-a2b7-98903e0bb60f",
    "f1d0b6f6-abfd-548f-8521-b4f88dde7bba",
)
END = datetime(2026, 1, 1, 4, 3, 58, 284414, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    shutil.copy(Path(__file__).parents[3] / "scenes/journal_v1/journal.sqlite", tmp_path)
    journal = open_journal(tmp_path)
    yield journal
    journal.close()


def test_its_chain_holds_and_goes_on(journal: Journal) -> None:
    head = "90b95ef7cdac4d816d132e4596207db9c5b4a9ecb18aad1ebc9a6c41b242448d"
    assert journal.verify(expected_head=head) == 68
    journal.append(PauseRequested(by="ana"), now=END, evacuation="evac-cut-off")
    assert journal.verify() == 69


def test_what_a_crash_cut_off_is_found(journal: Journal) -> None:
    assert unfinished(journal) == ["evac-cut-off"]
    assert journal.locks() == {LATE: "attempt-3", LATE2: "attempt-4", LATE3: "attempt-5"}
    assert needs_recovery(journal)
    (cut_off,) = open_intents(journal).items()
    assert cut_off[0] == "attempt-5"
    initial = cut_off[1].record.initial
    assert (initial.uuid, initial.name, initial.node, initial.state.value) == (LATE3, "late3", "a", "running")
    assert [(disk.path, disk.shared, disk.image_bytes) for disk in initial.disks] == [
        ("/srv/shared/late3-0.raw", True, 98322)
    ]
    assert unrestored_limits(journal) == ["attempt-3"]
    assert left_behind(journal) == [
        Left(
            attempt="attempt-2",
            node="b",
            vm="2a7fe9b2-6167-5bc7-8234-45279ff75a0a",
            path="/var/lib/libvirt/images/other-0.raw",
        )
    ]


def test_what_was_approved_and_asked_is_known(journal: Journal) -> None:
    asked = read_requests(journal, "evac-cut-off")
    assert (asked.cancelled_by, asked.paused_by, asked.renewed_by) == (None, None, "ben")
    assert asked.renewed_at == datetime(2026, 1, 1, 4, 2, 43, 784414, tzinfo=UTC)
    assert asked.abandoned == "the approval had expired"
    (started,) = journal.of(EvacuationStarted, evacuation="evac-cut-off")
    approved = started.record.approved
    assert approved.agreement.by == "policy"
    assert [action.vm_name for action in approved.plan.moves] == ["late", "other", "late2", "batch", "late3"]
    assert {vm.uuid for vm in approved.fleet.vms} > {LATE, LATE2, LATE3}
    (by_policy,) = journal.of(EvacuationApproved)
    assert by_policy.record.by == "policy"
    assert evacuations(journal) == [("a", 1767240062.046996)]


def test_tiers_cooldowns_and_pins_are_remembered(journal: Journal, tmp_path: Path) -> None:
    tiers = Tiers.restored(Policy(), journal, END)
    assert {node: (held.tier, held.since, held.upheld_at) for node, held in tiers.held.items()} == {
        "a": (Tier.EVACUATE, datetime(2026, 1, 1, 2, 1, 2, 46996, tzinfo=UTC), END)
    }
    assert tiers.acted_at == {"a": datetime(2026, 1, 1, 4, 1, 2, 46996, tzinfo=UTC)}
    assert Pins(tmp_path / "pins.json", journal, VirtualClock()).recorded() == {"a": "2" * 64, "b": "3" * 64}


def test_status_shows_it_as_before(journal: Journal) -> None:
    status = read_status(journal)
    assert [(each.id, each.started_at, each.outcome, each.over, each.actions) for each in status.evacuations] == [
        ("evac-cut-off", "2026-01-01T04:01:43.784414+00:00", "cut off", 2, 5),
        ("evac-20260101T040102Z-8ae7c2", "2026-01-01T04:01:02.046996+00:00", "done", 4, 4),
        ("evac-20260101T020102Z-f08e5f", "2026-01-01T02:01:02.046996+00:00", "refused", 0, 0),
        ("evac-by-hand", "2026-01-01T00:00:45.046996+00:00", "planned", 1, 0),
        ("evac", "2026-01-01T00:00:00+00:00", "planned", 1, 0),
    ]
    assert [(each.id, each.vm_name, each.outcome, each.locked) for each in status.evacuations[0].attempts] == [
        ("attempt-3", "late", "indeterminate", True),
        ("attempt-4", "late2", "indeterminate", True),
        ("attempt-5", "late3", "running", True),
    ]
    assert [each.id for each in status.needs_human] == ["attempt-3", "attempt-4"]
    assert "needs a human, and was not approved" in status.evacuations[2].why
