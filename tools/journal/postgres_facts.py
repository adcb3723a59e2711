"""What a database that lifeboats share is like now, for whoever examines it."""

from __future__ import annotations

from models.errors import BadInput
from tools.journal.postgres_connection import Connection, Database
from tools.journal.postgres_schema import prepare
from tools.ports.journal import DatabaseFacts

_SAFE = (
    "SELECT current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on', "
    "pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', current_setting('server_version')"
)
_LEADER = (
    "SELECT agent, extract(epoch FROM clock_timestamp() - shown)::float8 FROM lifeboat.lease WHERE agent IS NOT NULL"
)


def read_facts(url: str) -> DatabaseFacts:
    """Raises BadInput, in one line, for whatever keeps a lifeboat from leading with it: unreachable, wrong password, no right to
    what it needs, another version's schema, read-only."""
    database = Database(url)

    def ask(connection: Connection) -> DatabaseFacts:
        safe = connection.execute(_SAFE).fetchone()
        leader = connection.execute(_LEADER).fetchone()
        agents = connection.execute("SELECT agent, node FROM lifeboat.agents ORDER BY agent").fetchall()
        assert safe is not None
        if safe[1]:
            raise BadInput(
                f"database {database.name} is read-only",
                hint="it is a standby, or default_transaction_read_only is on: name the primary in database_url",
            )
        return DatabaseFacts(
            name=database.name,
            version=str(safe[2]),
            keeps_what_it_took=bool(safe[0]),
            leader=str(leader[0]) if leader else "",
            leader_silent_seconds=float(leader[1]) if leader else 0.0,
            agents={str(agent): str(node) for agent, node in agents},
        )

    try:
        prepare(database)
        with database.explained():
            return database.run(ask)
    finally:
        database.close()
