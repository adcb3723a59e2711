"""`lifeboat pause`, `resume`, `cancel` and `status`, as an operator runs them in another terminal."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from scenes.command_line import lifeboat, offered, work_in
from scenes.simulated_world import POLICY, World

from agent.approve.approval import approve
from agent.approve.approvers import DenyingApprover
from agent.execute.evacuation import Run
from models.approval import ApprovedPlan
from tools.journal.file_lease import FileLease


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """With an evacuation that was begun."""
    world = World(tmp_path)
    work_in(tmp_path, monkeypatch, settings=f"state_dir: {tmp_path}\n")
    plan, fleet, verdict = world.plan()
    now = world.fleet.clock.now()
    agreement = approve(plan, verdict, DenyingApprover(), now=now, expires_after=timedelta(minutes=15))
    order = ApprovedPlan(plan=plan, fleet=fleet, verdict=verdict, policy=POLICY, agreement=agreement)
    Run(order, world.hands, "evac-1").begin()
    yield world
    world.journal.close()


def outcome() -> str:
    return json.loads(lifeboat("status", "--json")[1])["evacuations"][0]["outcome"]


def test_what_was_asked_is_heeded_by_whoever_is_at_work_and_shown(world: World) -> None:
    assert outcome() == "cut off"
    with FileLease(world.directory).hold("evac-1"):
        assert outcome() == "running"
        code, said = lifeboat("pause")
        assert code == 0
        assert said.startswith("evac-1: paused; lifeboat (pid ")
        assert outcome() == "paused"
        assert lifeboat("resume", "evac-1")[0] == 0
        assert outcome() == "running"
        assert lifeboat("cancel", "evac-1")[0] == 0
        assert outcome() == "cancelling"
        code, said = lifeboat("resume", "evac-1")
        assert code == 2
        assert "was cancelled, which is for good" in said
    kinds = [entry.kind for entry in world.journal.entries(evacuation="evac-1")]
    assert kinds == ["evacuation-started", "pause-asked", "resume-asked", "cancel-asked"]
    assert world.journal.verify() == 4


def test_where_nothing_can_be_written_who_wants_it_to_stop_is_told_of_the_switch(world: World) -> None:
    with closing(sqlite3.connect(world.directory / "journal.sqlite")) as database:
        full = "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        database.execute(full)
    code, said = lifeboat("pause", "evac-1")
    assert (code, f"touch {world.directory / 'STOP'}" in said, "Traceback" in said) == (1, True, False)
    assert outcome() == "cut off"


def test_an_evacuation_that_is_not_there_is_bad_input(world: World) -> None:
    code, said = lifeboat("cancel", "evac-9")
    assert code == 2
    assert "no evacuation 'evac-9'" in said
    assert "not over: evac-1" in said


def test_the_tab_key_offers_what_is_not_over(world: World) -> None:
    assert offered("lifeboat pause ") == ["evac-1"]
    assert offered("lifeboat approve ") == []
