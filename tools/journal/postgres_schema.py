"""What lifeboat keeps in a PostgreSQL, and in which version: the schema `lifeboat`. (DBOS has its own, `dbos`.)"""

from __future__ import annotations

from typing import LiteralString

from models.errors import BadInput
from tools.journal.postgres_connection import Connection, Database

_ADVISORY_KEY = 0x6C696665626F6174
"""held while the schema is made: several lifeboats may start at once"""
_VERSIONS: tuple[LiteralString, ...] = (
    """
CREATE TABLE lifeboat.records (
    seq bigint PRIMARY KEY, time text COLLATE "C" NOT NULL, kind text COLLATE "C" NOT NULL, evacuation text COLLATE "C",
    attempt text COLLATE "C", data text NOT NULL, previous text NOT NULL, sha256 text NOT NULL,
    call text UNIQUE NOT NULL -- tells a call whose connection broke whether it was carried out
);
CREATE INDEX records_by_attempt ON lifeboat.records (attempt);
CREATE INDEX records_by_evacuation ON lifeboat.records (evacuation);
CREATE INDEX records_by_kind ON lifeboat.records (kind, time);
CREATE INDEX records_by_kind_and_evacuation ON lifeboat.records (kind, evacuation);
CREATE INDEX records_by_kind_and_attempt ON lifeboat.records (kind, attempt);
CREATE FUNCTION lifeboat.append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'append-only'; END $$;
CREATE TRIGGER records_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON lifeboat.records
    FOR EACH STATEMENT EXECUTE FUNCTION lifeboat.append_only();
CREATE TABLE lifeboat.locks (vm text COLLATE "C" PRIMARY KEY, attempt text NOT NULL, since text NOT NULL);
CREATE TABLE lifeboat.lease (
    id integer PRIMARY KEY CHECK (id = 1), epoch bigint NOT NULL, beat bigint NOT NULL, agent text, pid integer NOT NULL,
    what text NOT NULL, seconds double precision NOT NULL, avoids text NOT NULL, shown timestamptz NOT NULL
);
INSERT INTO lifeboat.lease VALUES (1, 0, 0, NULL, 0, '', 0, '', clock_timestamp());
CREATE TABLE lifeboat.agents (agent text PRIMARY KEY, pid integer NOT NULL, node text NOT NULL, beat bigint NOT NULL);
""",
)
"""what each version adds to the one before; never changed once released"""


def prepare(database: Database) -> None:
    """Make, or bring up to date, what lifeboat keeps there. Raises BadInput, in one line, when that can't be done: the database
    does not answer, is read-only, is of a newer lifeboat, or gives lifeboat no right to it."""
    with database.explained():
        version = database.run(_version)
        if version < len(_VERSIONS):
            database.run(lambda connection: _bring_up_to_date(connection, database.name))
        elif version > len(_VERSIONS):
            raise _too_new(database.name, version)


def why_too_new(database: Database) -> BadInput | None:
    """What to raise where a newer lifeboat has brought the database up to date, maybe since this one opened it; None: none has.
    Raises psycopg.Error."""
    version = database.run(_version)
    return _too_new(database.name, version) if version > len(_VERSIONS) else None


def schema_version(database: Database) -> tuple[int, int]:
    """Of what is there, 0 for nothing, and of this lifeboat. Raises psycopg.Error."""
    return database.run(_version), len(_VERSIONS)


def _version(connection: Connection) -> int:
    row = connection.execute("SELECT to_regclass('lifeboat.about')").fetchone()
    if row is None or row[0] is None:
        return 0
    found = connection.execute("SELECT max(version) FROM lifeboat.about").fetchone()
    return int(found[0]) if found is not None and found[0] is not None else 0


def _bring_up_to_date(connection: Connection, name: str) -> None:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ADVISORY_KEY,))
        version = _version(connection)
        if version > len(_VERSIONS):
            raise _too_new(name, version)
        if version == 0:
            connection.execute("CREATE SCHEMA IF NOT EXISTS lifeboat")
            connection.execute("CREATE TABLE lifeboat.about (version integer PRIMARY KEY)")
        for number, statements in enumerate(_VERSIONS[version:], version + 1):
            connection.execute(statements)
            connection.execute("INSERT INTO lifeboat.about VALUES (%s)", (number,))


def _too_new(name: str, version: int) -> BadInput:
    return BadInput(
        f"database {name} holds lifeboat's schema in version {version}, this lifeboat knows {len(_VERSIONS)} at most",
        hint="a newer lifeboat has used it: use that version here too; nothing was changed",
    )
