"""A disk that is really full, read-only or somebody else's, under lifeboat's state. SIMULATED nodes.

A small tmpfs stands for the disk; the tests need root for it.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.simulated_world import POLICY, World
from scenes.small_disk import fill, small_disk

from agent.actions.progress import Progress
from agent.approve.approvers import DenyingApprover
from agent.execute.evacuation import Watcher
from agent.execute.workflows import Durable
from agent.plan.solver import plan as solve
from agent.service.control_loop import ControlLoop
from agent.state.requests import unfinished
from models.errors import BadInput, LifeboatError
from models.evacuation import AttemptOutcome
from models.fleet import Fleet
from models.risk.risk import Risk
from tools.journal.file_lease import FileLease
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.attempts import AttemptEnded, AttemptIntended

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="mounts, and becomes somebody else")]
NOBODY = 65534


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    with small_disk(tmp_path / "state", kilobytes=4 << 10) as disk:
        yield disk


@pytest.fixture
def world(disk: Path, tmp_path: Path) -> Iterator[World]:
    world = World(disk)
    yield world
    world.journal.close()


def look(world: World) -> tuple[Fleet, list[Risk]]:
    return world.snapshot(), world.risks()


def test_with_a_full_disk_nothing_is_begun_and_the_next_pass_goes_on_once_there_is_room(
    disk: Path, world: World
) -> None:
    durable = Durable(disk)
    loop = ControlLoop(
        hands=world.hands, policy=POLICY, look=lambda: look(world), planner=solve,
        approver=DenyingApprover(), carry_out=durable.execute,
    )  # fmt: skip
    fill(disk)
    with pytest.raises((OSError, LifeboatError), match=r"disk is full|can't be written") as said:
        loop.run_once()
    assert "\n" not in str(said.value)
    assert not world.journal.of(AttemptIntended)
    assert [world.fleet.running_on(vm) for vm in (world.web, world.db, world.batch)] == [["a"]] * 3
    (disk / "filler").unlink()
    loop.run_once()
    assert world.fleet.running_on(world.web) != ["a"]
    world.check_nothing_lost_or_doubled()


def test_a_disk_that_fills_up_while_guests_move_doubles_and_loses_none_and_all_is_ended_once_there_is_room(
    disk: Path, world: World
) -> None:
    durable = Durable(disk)

    def fill_up(progress: Progress) -> None:
        if progress.phase == "copying" and not (disk / "filler").exists():
            fill(disk)

    with pytest.raises((OSError, LifeboatError)) as said:
        durable.execute(world.approved(), world.hands, evacuation="evac-1", watcher=Watcher(on_progress=fill_up))
    assert "\n" not in str(said.value)
    assert not world.fleet.ran_twice
    (disk / "filler").unlink()
    durable.recover(world.hands, POLICY, lambda: look(world))
    assert unfinished(world.journal) == []
    ended = [entry.record.attempt.outcome for entry in world.journal.of(AttemptEnded)]
    assert AttemptOutcome.INDETERMINATE not in ended
    world.check_nothing_lost_or_doubled()


def test_a_state_folder_that_belongs_to_somebody_else_is_named_with_its_owner() -> None:
    with tempfile.TemporaryDirectory() as made:  # pytest's own directories let nobody else in
        Path(made).chmod(0o755)
        check_owner_is_named(Path(made) / "state")


def check_owner_is_named(state: Path) -> None:
    SqliteJournal(state / "journal.sqlite").close()
    with FileLease(state).hold("nothing"):
        pass
    Durable(state).require_usable()
    for said in as_nobody(state):
        assert re.search(rf"{state}(/\S+)? belongs to root, and this lifeboat runs as nobody", said)
        assert "chown -R nobody" in said


def as_nobody(state: Path) -> list[str]:
    """What opening the journal, the lease and the database of durable runs came to."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        lines: list[str] = []
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            for attempt in (
                lambda: SqliteJournal(state / "journal.sqlite"),
                lambda: FileLease(state).hold("something").__enter__(),
                lambda: Durable(state).require_usable(),
            ):
                try:
                    attempt()
                    lines.append("opened")
                except BadInput as error:
                    lines.append(str(error))
            os.write(write, "\n".join(lines).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read().splitlines()
    os.waitpid(pid, 0)
    assert len(said) == 3
    return said


def test_a_read_only_state_folder_is_said_in_one_line(disk: Path) -> None:
    SqliteJournal(disk / "journal.sqlite").close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(BadInput, match="Read-only file system") as refused:
        SqliteJournal(disk / "journal.sqlite")
    assert "mounted read-only" in refused.value.hint
    with pytest.raises(BadInput, match="Read-only file system"), FileLease(disk).hold("something"):
        pass
