"""Leading: at most one, whatever stops, is cut off or has its clock set, and nothing is written or begun by one that was."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime

import pytest
from scenes.cut_off import Wire
from scenes.postgres_server import PostgresServer
from scenes.simulated_world import World

from agent.actions.guarded_node import LOOKS, guarded
from models.errors import BadInput, Busy, DeviceBound
from tools.journal.postgres import PostgresJournal
from tools.journal.row_lease import RowLease
from tools.ports.hypervisor import Hypervisor
from tools.ports.journal import LeaseLost, NotWritten
from tools.ports.records.disks import DiskCreated

pytestmark = pytest.mark.postgres
NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
SECONDS = 1.0
DISK = DiskCreated(node="a", path="/1")
Opener = Callable[..., tuple[RowLease, PostgresJournal]]


@pytest.fixture
def agents(postgres_server: PostgresServer) -> Iterator[Opener]:
    """Opens the lease of one more agent, and the journal that it writes."""
    url = postgres_server.forget()
    with ExitStack() as stack:

        def make(name: str, *, at: str = url, node: str = "") -> tuple[RowLease, PostgresJournal]:
            lease = stack.enter_context(closing(RowLease(at, agent=name, node=node, seconds=SECONDS)))
            return lease, stack.enter_context(closing(PostgresJournal(at, epoch=lease.epoch, patience_seconds=0.2)))

        yield make


def within(seconds: float, happens: Callable[[], bool]) -> float:
    """Until it does; how long that took."""
    began = time.monotonic()
    while not happens():
        assert time.monotonic() - began < seconds, "it does not happen"
        time.sleep(0.02)
    return time.monotonic() - began


def stand_still(lease: RowLease) -> None:
    """As a stopped process does: it gives no more signs of life, and knows nothing of it."""
    assert lease._stop is not None
    lease._stop.set()


def test_one_leads_and_another_only_once_it_has_been_silent_for_its_lease(agents: Opener) -> None:
    (first, _), (second, _) = agents("first"), agents("second")
    assert first.lead()
    assert not second.lead()
    assert second.leader() == "first"
    time.sleep(2 * SECONDS)  # a lease passes, and it is renewed
    assert first.lead()
    assert not second.lead()
    stand_still(first)
    assert within(10 * SECONDS, second.lead) > 0.5 * SECONDS
    with pytest.raises(LeaseLost):
        first.require()


def test_under_an_epoch_that_is_over_nothing_is_written_and_nothing_is_done(agents: Opener, world: World) -> None:
    (first, journal), (second, its_journal) = agents("first"), agents("second")
    assert first.lead()
    node = guarded(world.fleet.hypervisors()["a"], require_lead=first.require, own_vm="")
    journal.append(DISK, now=NOW)
    journal.lock("vm-1", "a1", now=NOW)
    node.set_autostart(world.web, True)
    stand_still(first)
    within(10 * SECONDS, second.lead)
    its_journal.append(DISK, now=NOW)

    for write in (
        lambda: journal.append(DISK, now=NOW),
        lambda: journal.append_if_newest(DISK, now=NOW, evacuation="e", seen=0, kinds=(DiskCreated,)),
        lambda: journal.lock("vm-2", "a2", now=NOW),
        lambda: journal.unlock("vm-1", "a1"),
    ):
        with pytest.raises(LeaseLost, match="led under epoch 1, and another one leads by now"):
            write()
    with pytest.raises(LeaseLost):
        node.shut_down(world.web)
    assert node.observe(world.web) is not None, "looking is always allowed"
    assert world.fleet.running_on(world.web) == ["a"]
    assert len(its_journal.entries()) == 2
    assert its_journal.locks() == {"vm-1": "a1"}
    assert its_journal.verify() == 2


def test_what_people_decide_is_written_whoever_leads(agents: Opener, postgres_server: PostgresServer) -> None:
    agents("first")[0].lead()
    with closing(PostgresJournal(postgres_server.url())) as anywhere:
        anywhere.append(DISK, now=NOW)


def test_nothing_is_begun_once_the_database_is_away_for_longer_than_the_lease(
    agents: Opener, postgres_server: PostgresServer
) -> None:
    agents("other")
    wire = Wire(postgres_server.port)
    try:
        cut_off, journal = agents("cut off", at=postgres_server.tcp_url(port=wire.port))
        assert cut_off.lead()
        wire.cut()
        cut_off.require()
        with pytest.raises(NotWritten, match="can't be written"):
            journal.append(DISK, now=NOW)
        within(10 * SECONDS, lambda: not may_begin(cut_off))
        with pytest.raises(LeaseLost, match="can't tell whether it still leads"):
            cut_off.require()
        assert not cut_off.lead()
        with pytest.raises(BadInput, match="can't be reached"):
            cut_off.leader()
        wire.mend()
        within(10 * SECONDS, lambda: may_begin(cut_off))  # nobody has taken over meanwhile: it goes on
        assert cut_off.epoch() == 1
        journal.append(DISK, now=NOW)
    finally:
        wire.close()


def may_begin(lease: RowLease) -> bool:
    try:
        lease.require()
    except LeaseLost:
        return False
    return True


def test_a_network_that_swallows_everything_is_noticed_and_another_leads(
    agents: Opener, postgres_server: PostgresServer
) -> None:
    second, _ = agents("second")
    wire = Wire(postgres_server.port)
    try:
        first, _ = agents("first", at=postgres_server.tcp_url(port=wire.port))
        assert first.lead()
        wire.fall_silent()
        within(10 * SECONDS, second.lead)
        assert not may_begin(first)
    finally:
        wire.close()


def test_a_restart_of_the_database_and_ended_sessions_cost_nobody_the_lead(
    agents: Opener, postgres_server: PostgresServer
) -> None:
    lease, _ = agents("first")
    assert lease.lead()
    with closing(PostgresJournal(postgres_server.url(), epoch=lease.epoch)) as journal:
        for number in range(20):
            if number % 5 == 0:
                postgres_server.terminate_backends()
            journal.append(DISK, now=NOW, attempt=str(number))
        restart = threading.Thread(target=postgres_server.restart)
        restart.start()
        for number in range(20, 60):
            journal.append(DISK, now=NOW, attempt=str(number))
        restart.join()
        assert [entry.attempt for entry in journal.entries()] == [str(number) for number in range(60)]
        assert journal.verify() == 60
    within(10 * SECONDS, lambda: may_begin(lease))
    assert lease.epoch() == 1


def test_a_command_waits_for_nobody_who_only_watches_and_for_whoever_is_at_work_it_does_not_act(agents: Opener) -> None:
    (run, its_journal), (command, _) = agents("run"), agents("apply")
    assert run.lead()
    with (
        run.hold("evac-1"),
        pytest.raises(Busy, match=r"\(run, pid \d+\) is at work on evac-1"),
        command.hold("evac-2"),
    ):
        pass
    with command.hold("evac-2"):
        seen = run.holder()
        assert seen is not None
        assert (seen.agent, seen.what) == ("apply", "evac-2")
        with pytest.raises(LeaseLost):
            its_journal.append(DISK, now=NOW)
        with pytest.raises(Busy), run.hold("evac-3"):
            pass
    within(10 * SECONDS, run.lead)


def test_who_hands_over_for_its_own_node_is_followed_by_one_that_runs_elsewhere(agents: Opener) -> None:
    (first, _), (beside, _), (elsewhere, _) = agents("1", node="a"), agents("2", node="a"), agents("3", node="b")
    with first.standing_by(), beside.standing_by(), elsewhere.standing_by():
        within(10 * SECONDS, first.lead)
        for each in (first, beside):
            within(10 * SECONDS, lambda each=each: "3" in [other.name for other in each.others()])
        first.resign(avoiding="a")
        assert not first.lead()
        assert not beside.lead()
        assert elsewhere.lead()
    assert first.lead(), "those that left have let go of it"


def test_every_call_of_a_node_is_known_to_change_nothing_or_guarded() -> None:
    methods = {name for part in Hypervisor.__mro__ for name in vars(part) if not name.startswith("_")}
    assert methods >= LOOKS
    assert {"migrate_live", "tag_attempt", "define", "write_disk", "abort_job"} <= methods - LOOKS


def test_the_vm_that_lifeboat_runs_in_is_not_stopped_by_it(world: World) -> None:
    node = guarded(world.fleet.hypervisors()["a"], require_lead=lambda: None, own_vm=world.web)
    for stop in (node.shut_down, node.power_off):
        with pytest.raises(DeviceBound, match="lifeboat itself runs in"):
            stop(world.web)
    node.shut_down(world.db)


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.journal.close()


def test_one_that_leads_makes_way_for_a_newer_lifeboat_once_it_is_not_at_work(
    agents: Opener, postgres_server: PostgresServer
) -> None:
    older, journal = agents("older")
    assert older.lead()
    with older.hold("evac-1"):
        postgres_server.execute("INSERT INTO lifeboat.about VALUES (99)")
        assert older.lead(), "what it has begun it sees to its end"
        journal.append(DISK, now=NOW)
    with pytest.raises(BadInput, match="a newer lifeboat has used it"):
        older.lead()
    assert older.leader() == "", "the newer one need not wait for its lease to run out"
    with pytest.raises(LeaseLost):
        older.require()
    with pytest.raises(BadInput, match="in version 99"):
        older.lead()
