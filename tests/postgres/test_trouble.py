"""What is wrong with a database is one line, on the command line and of the doctor, and never shows the password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from scenes.command_line import lifeboat
from scenes.postgres_server import PASSWORD, PostgresServer
from scenes.simulated_world import World, stand_in_for_the_fleet

from agent.execute.evacuation import Run
from agent.execute.workflows import Durable
from models.errors import BadInput
from tools.journal.postgres import PostgresJournal
from tools.journal.row_lease import RowLease
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.evacuations import PauseRequested

pytestmark = pytest.mark.postgres
NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path / "world")
    stand_in_for_the_fleet(world, monkeypatch)
    yield world
    world.journal.close()


@pytest.fixture
def settings(tmp_path: Path, world: World, postgres_server: PostgresServer) -> Path:
    postgres_server.forget()
    return written(tmp_path, postgres_server.tcp_url())


def written(directory: Path, url: str) -> Path:
    nodes = "".join(f"  - {{name: {name}, libvirt_uri: 'test:///default'}}\n" for name in ("a", "b", "c"))
    file = directory / "lifeboat.yaml"
    file.write_text(f"state_dir: {directory / 'state'}\ndatabase_url: '{url}'\nnodes:\n{nodes}")
    return file


def said(*arguments: str, settings: Path) -> tuple[int, str]:
    code, text = lifeboat(*arguments, "--config", str(settings))
    assert PASSWORD not in text
    assert PASSWORD.replace(" ", "%20") not in text
    return code, text


@pytest.mark.parametrize("command", [("doctor",), ("status",), ("run", "--once")])
def test_nobody_answers(command: tuple[str, ...], tmp_path: Path, world: World) -> None:
    settings = written(tmp_path, "postgresql://lifeboat:correct%20horse@127.0.0.1:9/none")
    code, text = said(*command, settings=settings)
    assert code == 2
    (line,) = text.strip().splitlines()
    assert "database postgresql://" in line
    assert "can't be reached" in line


@pytest.mark.parametrize("command", ["pause", "cancel"])
def test_where_nobody_answers_who_wants_it_to_stop_is_told_of_the_switch_that_needs_no_database(
    command: str, tmp_path: Path, world: World
) -> None:
    settings = written(tmp_path, "postgresql://lifeboat@127.0.0.1:9/none")
    code, text = said(command, settings=settings)
    assert (code, f"touch {tmp_path / 'state' / 'STOP'}" in text) == (2, True)


def test_a_wrong_password(tmp_path: Path, world: World, postgres_server: PostgresServer) -> None:
    settings = written(tmp_path, postgres_server.tcp_url(password="wrong one"))
    code, text = said("doctor", settings=settings)
    assert code == 2
    assert "the password is wrong or missing" in text
    assert "wrong one" not in text
    assert "wrong%20one" not in text


def test_what_is_no_url_of_a_postgresql(tmp_path: Path, world: World) -> None:
    code, text = said("doctor", settings=written(tmp_path, "mysql://lifeboat:correct horse@db/x"))
    assert code == 2
    assert "database_url: mysql is not supported" in text
    code, text = said("doctor", settings=written(tmp_path, "postgresql://lifeboat:correct horse@db:port/x?no=1"))
    assert code == 2
    assert "database_url can't be read" in text


def test_a_newer_lifeboat_has_used_it(settings: Path, postgres_server: PostgresServer) -> None:
    assert said("status", settings=settings)[0] == 0
    postgres_server.execute("INSERT INTO lifeboat.about VALUES (99)")
    code, text = said("doctor", settings=settings)
    assert code == 2
    assert "in version 99, this lifeboat knows 1 at most" in text


def test_a_newer_lifeboat_has_used_the_database_of_durable_runs(world: World, postgres_server: PostgresServer) -> None:
    durable = Durable(world.directory, postgres_server.forget())
    assert durable.execute(world.approved(), world.hands, evacuation="evac-1").attempts
    postgres_server.execute("UPDATE dbos.dbos_migrations SET version = 9999")
    with pytest.raises(BadInput, match="in version 9999, this lifeboat knows") as refused:
        durable.execute(world.approved(), world.hands, evacuation="evac-2")
    assert "a newer lifeboat has used it" in refused.value.hint
    assert postgres_server.execute("SELECT version FROM dbos.dbos_migrations") == [(9999,)]


def test_one_that_is_read_only_can_be_read_and_the_doctor_says_so(
    settings: Path, postgres_server: PostgresServer
) -> None:
    with closing(PostgresJournal(postgres_server.url())) as journal:
        journal.append(PauseRequested(by="ana"), now=NOW)
    postgres_server.execute("ALTER ROLE lifeboat SET default_transaction_read_only = on")
    try:
        assert said("audit", "verify", settings=settings)[0] == 0
        code, text = said("doctor", settings=settings)
        assert code == 1
        assert "is read-only" in text
        code, text = said("run", "--once", settings=settings)
        assert code == 2
        assert "is read-only" in text
    finally:
        with closing(
            PostgresJournal(postgres_server.url() + "&options=-c%20default_transaction_read_only%3Doff")
        ) as admin:
            admin._database.run(lambda each: each.execute("ALTER ROLE lifeboat RESET default_transaction_read_only"))


def test_no_right_to_make_what_it_needs(tmp_path: Path, world: World, postgres_server: PostgresServer) -> None:
    postgres_server.forget()
    postgres_server.execute("DROP ROLE IF EXISTS guest")
    postgres_server.execute("CREATE ROLE guest LOGIN")
    code, text = said("status", settings=written(tmp_path, postgres_server.url().replace("lifeboat@", "guest@")))
    assert code == 2
    assert "permission denied" in text
    assert "own the database" in text


def test_the_doctor_names_who_leads_and_who_stands_by(settings: Path, postgres_server: PostgresServer) -> None:
    url = postgres_server.url()
    one, two = RowLease(url, agent="one", node="a"), RowLease(url, agent="two")
    with closing(one), closing(two), one.standing_by(), two.standing_by():
        assert one.lead()
        _, text = said("doctor", settings=settings)
        assert "one leads" in text
        assert "one on a and two" in text
    _, text = said("doctor", settings=settings)
    assert "nobody leads" in text


def test_work_that_is_not_finished_is_not_left_behind_by_sharing_a_database(
    settings: Path, tmp_path: Path, world: World
) -> None:
    (tmp_path / "state").mkdir()
    local = SqliteJournal(tmp_path / "state" / "journal.sqlite")
    world.journal.close()
    world.journal = local
    world.hands = world.hands.__class__(
        nodes=world.hands.nodes, clock=world.hands.clock, journal=local, archives=world.hands.archives
    )
    Run(world.approved(), world.hands, "evac-1").begin()
    code, text = said("run", "--once", settings=settings)
    assert code == 2
    assert "holds work that is not finished" in text


def test_the_setting_of_before_is_not_taken_for_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "lifeboat.yaml"
    file.write_text("durable_url: postgresql://lifeboat@db/x\n")
    code, text = lifeboat("status", "--config", str(file))
    assert code == 2
    assert "durable_url: an older version knew it; write database_url" in text
