"""A connection to PostgreSQL that is made again when it breaks, and on which nothing waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import conninfo

from models.errors import BadInput
from models.text import without_credentials

T = TypeVar("T")

ANSWER_SECONDS = 5.0
"""after this without an answer a connection is given up: the server, or the network to it, is gone or stopped"""
_CONNECT_SECONDS = 3
_SESSION = "-c statement_timeout=4s -c idle_in_transaction_session_timeout=5s"
"""the server gives up before its client does, and ends by itself a transaction whose client was stopped in the middle"""
_ON_DISK = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
"""whatever the server's own setting: what was written is on disk when it says so. Stricter ones are left"""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.5
_DRIVER = "postgresql+psycopg"

Connection = psycopg.Connection[tuple[Any, ...]]


class _BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A TCP connection may stay open for hours with nobody at its other end."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, ANSWER_SECONDS if timeout is None else timeout)


def uptime() -> float:
    """Seconds since the host came up, those asleep among them. Nobody can set them, and they pass while a process is stopped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Database:
    """One connection, used by one thread at a time."""

    def __init__(self, url: str) -> None:
        """Opens nothing yet. Raises BadInput when it is no URL of a PostgreSQL."""
        self.url = url
        self._parameters, self.name = parsed(url)
        self._mutex = threading.RLock()
        self._connection: _BoundedConnection | None = None
        self._closed = threading.Event()

    def run(self, do: Callable[[Connection], T], *, patience_seconds: float = 0.0) -> T:
        """`do` with a connection, in autocommit. Where the connection breaks, or the server takes nothing now, all of it again
        with a new one, for so long: `do` has to be a thing that may be done twice. Raises psycopg.Error."""
        deadline, pause = uptime() + patience_seconds, _FIRST_PAUSE_SECONDS
        while True:
            with self._mutex:
                try:
                    return do(self._connected())
                except psycopg.Error as error:
                    if passes_by_itself(error):
                        self._drop()
                    if not passes_by_itself(error) or uptime() >= deadline:
                        raise
            if self._closed.wait(pause):
                raise psycopg.InterfaceError("the connection was closed")
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    @contextmanager
    def explained(self) -> Generator[None]:
        """Raises BadInput, in one line and without the password, for what psycopg raises."""
        try:
            yield
        except psycopg.Error as error:
            raise explanation(error, self.name) from error

    def close(self) -> None:
        self._closed.set()
        with self._mutex:
            self._drop()

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = _BoundedConnection.connect(**self._parameters, autocommit=True)
            self._connection.execute(_ON_DISK)
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def parsed(url: str) -> tuple[dict[str, Any], str]:
    """What psycopg connects with, and how messages name the database: user, host and name, never the password. Raises
    BadInput."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise BadInput(
            f"database_url: {without_credentials(url).partition(':')[0][:40]} is not supported",
            hint="postgresql://USER@HOST/DATABASE, or leave it out for files in state_dir",
        )
    try:
        parameters = conninfo.conninfo_to_dict(url)
    except psycopg.Error as error:
        raise BadInput(
            "database_url can't be read: what libpq says of it may hold the password and is not shown",
            hint="postgresql://USER@HOST/DATABASE; special characters in a password as %XX, or use libpq's passfile",
        ) from error
    where = parameters.get("host") or parameters.get("hostaddr") or "localhost"
    port = f":{parameters['port']}" if "port" in parameters else ""
    user = f"{parameters['user']}@" if "user" in parameters else ""
    options = f"{parameters.get('options', '')} {_SESSION}".strip()
    limits = {
        "connect_timeout": _CONNECT_SECONDS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        "application_name": "lifeboat",
        "client_encoding": "utf8",
    }
    name = f"postgresql://{user}{where}{port}/{parameters.get('dbname', '')}"
    return limits | parameters | {"options": options}, name


def for_sqlalchemy(url: str) -> str:
    """The same database, as SQLAlchemy is to be told of it."""
    return f"{_DRIVER}{url[url.index('://') :]}"


def passes_by_itself(error: psycopg.Error) -> bool:
    """Whether the same may well succeed on a new connection: restarts, broken connections, a server that is being started, one
    that has just become a read-only standby."""
    gone = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return gone or isinstance(error, psycopg.errors.ReadOnlySqlTransaction)


def explanation(error: psycopg.Error, name: str) -> BadInput:
    """One line on what is wrong with a database, and what to do about it; never the password."""
    said = without_credentials(" ".join(str(error).split())).removeprefix("connection failed: ")[:300]
    match error:
        case psycopg.errors.ReadOnlySqlTransaction():
            return BadInput(
                f"database {name} is read-only",
                hint="it is a standby, or default_transaction_read_only is on: name the primary in database_url",
            )
        case psycopg.errors.InsufficientPrivilege():
            return BadInput(
                f"database {name}: {said}",
                hint="let lifeboat's user own the database, or the schemas lifeboat and dbos",
            )
        case _ if "password authentication failed" in said or "no password supplied" in said:
            return BadInput(
                f"database {name}: the password is wrong or missing",
                hint="correct it in database_url, in the passfile that names, or in PGPASSWORD",
            )
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return BadInput(
                f"database {name} can't be reached: {said}",
                hint="see that it runs and that database_url names it; nothing was changed",
            )
        case _:
            return BadInput(f"database {name}: {said}", hint="check database_url in the settings")
