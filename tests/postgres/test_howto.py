"""docs/how-to/postgresql.md, done as it says: its role has rights enough, and nothing of the old journal comes along."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from scenes.command_line import lifeboat
from scenes.doc_commands import ROOT
from scenes.documented_fleet import DocumentedFleet, documented_fleet
from scenes.postgres_server import PostgresServer

pytestmark = pytest.mark.postgres
WORD = "another horse"
PAGE = (ROOT / "docs/how-to/postgresql.md").read_text(encoding="utf-8")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DocumentedFleet]:
    with documented_fleet(tmp_path, monkeypatch, asks_people=False) as made:
        yield made


@pytest.fixture
def url(postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of the database that the page has one make, for a role of another name: the server's own is `lifeboat`."""
    (statements,) = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for statement in statements.replace("lifeboat", "guide").replace("…", WORD).split(";"):
        if statement.strip():
            postgres_server.execute(statement)
    (line,) = re.findall(r"^db:5432:.*$", PAGE, re.MULTILINE)
    pgpass = tmp_path / ".pgpass"
    pgpass.write_text(
        line.replace("db:5432", f"127.0.0.1:{postgres_server.port}").replace("lifeboat", "guide").replace("…", WORD)
    )
    pgpass.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(pgpass))
    yield f"postgresql://guide@127.0.0.1:{postgres_server.port}/guide?sslmode=disable"
    postgres_server.execute("DROP DATABASE guide WITH (FORCE)")
    postgres_server.execute("DROP ROLE guide")


def said(*arguments: str) -> str:
    code, text = lifeboat(*arguments)
    assert code == 0, (arguments, text)
    return text


def records(*options: str) -> list[str]:
    return [each["kind"] for each in json.loads(said("audit", "show", "--json", "--most", "500", *options))["records"]]


def test_the_new_journal_begins_empty_the_old_one_can_be_checked_and_the_work_goes_on(
    world: DocumentedFleet, url: str
) -> None:
    said("apply", "plan.json")
    assert "planned" in records()
    said("audit", "export", "-o", "before.jsonl")

    settings = Path("lifeboat.yaml")
    settings.write_text(settings.read_text(encoding="utf-8") + f"database_url: '{url}'\nlease: 12s\nagent: west-1\n")
    said("config", "check")
    (found,) = [line["what"] for line in json.loads(lifeboat("doctor", "--json")[1]) if line["subject"] == "PostgreSQL"]
    assert found.endswith("fsync or full_page_writes is off"), "which is true of the tests' server, and all there is"
    assert "planned" not in records(), "nothing is copied from SQLite"
    said("audit", "verify", "before.jsonl")

    said("plan", "node-b", "-o", "back.json")
    said("apply", "back.json")
    assert "evacuation-ended" in records()
    said("run", "--once")
    said("status")
    with closing(psycopg.connect(url)) as connection:
        mine = connection.execute("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user").fetchone()
    assert mine == (False, False)
