"""At most one lifeboat carries out evacuations from one state directory, and everybody can see whether it lives.

The lease is a lock of the kernel's on a file, so it ends with the process that holds it, however that ends: there is
nothing to time out and nothing to clean up, and a live lifeboat's work is never taken for that of a dead one.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from models.errors import BadInput, Busy
from tools.journal.state_files import cannot_open
from tools.ports.journal import Holder

_FILE = "evacuating.lock"
_RUNNING = "running.lock"
_TRIES = 6
_TRY_SECONDS = 0.05
"""somebody who only looks holds the lock for an instant too"""


class FileLease:
    """A `Lease` for the lifeboats that share a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / _FILE

    @contextmanager
    def hold(self, what: str) -> Generator[None]:
        file = self._open(os.O_RDWR | os.O_CREAT)
        try:
            for attempt in range(_TRIES):
                if _lock(file, fcntl.LOCK_EX):
                    break
                if attempt == _TRIES - 1:
                    holder = _read(file)
                    raise Busy(
                        f"another lifeboat (pid {holder.pid}) is at work on {holder.what}; nothing was changed",
                        hint="a plan is judged for a fleet that nobody else changes: wait for it, see `lifeboat "
                        "status`, or `lifeboat cancel` it",
                    )
                time.sleep(_TRY_SECONDS)
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({"pid": os.getpid(), "what": what}).encode(), 0)
            yield
        finally:
            os.close(file)  # which gives the lock back

    def holder(self) -> Holder | None:
        try:
            file = self._open(os.O_RDONLY)
        except BadInput:
            return None
        try:
            return None if _lock(file, fcntl.LOCK_SH) else _read(file)
        finally:
            os.close(file)

    def _open(self, flags: int) -> int:
        try:
            return os.open(self._path, flags, 0o600)
        except OSError as error:
            raise cannot_open(self._path, error, what="lease") from error


@contextmanager
def only_one_running(state_dir: Path) -> Generator[None]:
    """For as long as the block runs, this is the only background agent with this state folder. Raises BadInput, naming the one
    that runs already: two would look twice, and by two policies."""
    path = state_dir / _RUNNING
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise cannot_open(path, error, what="lock") from error
    try:
        if not _lock(file, fcntl.LOCK_EX):
            raise BadInput(
                f"another `lifeboat run` (pid {_read(file).pid}) uses {state_dir}; nothing was changed",
                hint="stop that one, or `kill -HUP` it to have it read its files anew; several agents share a database_url, "
                "each with a state_dir of its own",
            )
        with suppress(OSError):  # a full disk: the lock holds without saying whose it is
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({"pid": os.getpid(), "what": "run"}).encode(), 0)
        yield
    finally:
        os.close(file)  # which gives the lock back


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: int) -> Holder:
    try:
        content = json.loads(os.pread(file, 4096, 0))
        return Holder(int(content["pid"]), str(content["what"]))
    except (ValueError, KeyError, TypeError):
        return Holder(0, "an evacuation")
