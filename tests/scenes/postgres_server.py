"""A real PostgreSQL of one's own: made in a directory that goes away with it, run by an ordinary user, on loopback alone.

Where its programs are not installed (Debian's package `postgresql`), tests that need it are skipped and say so.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "correct horse"


def programs() -> Path | None:
    """Where the newest PostgreSQL's programs are."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class PostgresServer:
    """Started by `running`. `durable`: every commit is synced to disk, as in earnest."""

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        bin_directory = programs()
        assert bin_directory is not None
        self._bin, self._directory, self._durable = bin_directory, directory, durable
        self._data = directory / "data"
        self._who: dict[str, Any] = {}
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            nobody = pwd.getpwnam("nobody")
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
            self._who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def make(self) -> None:
        password = self._directory / "password"
        password.write_text(PASSWORD)
        os.chmod(password, 0o644)
        self._run(
            "initdb", "-D", str(self._data), "-U", "lifeboat", "--no-sync", "--no-locale", "-E", "UTF8",
            "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}",
        )  # fmt: skip

    def start(self) -> None:
        sync = "" if self._durable else " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self._directory} "
            f"-c max_connections=200 -c shared_buffers=16MB{sync}"
        )
        log = str(self._directory / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "30", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "-t", "30", "stop")

    def restart(self) -> None:
        self.stop("fast")
        self.start()

    @contextmanager
    def frozen(self) -> Generator[None]:
        """The server's processes stand still: connections stay open, and nobody answers on them."""
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(postmaster)], capture_output=True, text=True, check=True
        )
        pids = [postmaster, *map(int, children.stdout.split())]
        try:
            _signal(pids, signal.SIGSTOP)
            yield
        finally:
            _signal(pids, signal.SIGCONT)

    def url(self, database: str = "postgres") -> str:
        """Over its socket, where no password is asked for."""
        return f"postgresql://lifeboat@/{database}?host={self._directory}&port={self.port}"

    def tcp_url(self, *, port: int | None = None, password: str = PASSWORD, database: str = "postgres") -> str:
        return f"postgresql://lifeboat:{password.replace(' ', '%20')}@127.0.0.1:{port or self.port}/{database}"

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def terminate_backends(self) -> int:
        """As an administrator does; how many there were."""
        return len(
            self.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        )

    def forget(self) -> str:
        """Nothing of lifeboat's is in it any more; its URL."""
        self.execute("DROP SCHEMA IF EXISTS lifeboat CASCADE")
        self.execute("DROP SCHEMA IF EXISTS dbos CASCADE")
        return self.url()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        with (self._directory / "output").open("w+") as output:  # no pipe: the server would hold it open
            done = subprocess.run(
                command,
                check=False,
                stdout=output,
                stderr=output,
                cwd=self._directory,
                env={"LC_ALL": "C"},
                **self._who,
            )
            if done.returncode:
                output.seek(0)
                raise RuntimeError(f"{program}: {output.read()}")


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def running(*, durable: bool = False) -> Generator[PostgresServer]:
    """A server of its own for the block."""
    directory = Path(tempfile.mkdtemp(prefix="lb-pg-", dir="/tmp"))  # short: a socket's path has a limit
    server = PostgresServer(directory, durable=durable)
    try:
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Generator[PostgresServer]:
    """One for all tests of a worker; each begins with `forget`."""
    if programs() is None:
        pytest.skip("no PostgreSQL here: install Debian's package postgresql (./dev does, as root)")
    with running() as server:
        yield server
