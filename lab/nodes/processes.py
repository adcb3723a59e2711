"""Processes the lab starts: recorded before they run, killed only when they are still the same process.

A pid alone is not an identity, it is reused. A process is (pid, start time), where the start time is field 22 of
/proc/PID/stat in clock ticks since boot. It survives exec, so the record made before exec stays true.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Waits for one line (the record has been written) and only then becomes the daemon. If `lab up` is killed in
# between, or recording fails, read meets end of file and nothing is started: no unrecorded daemon ever runs.
_GATE = 'read -r recorded || exit 1; exec "$@" </dev/null'


@dataclass(frozen=True)
class ProcessRef:
    """One process, recognisable for as long as it lives."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> ProcessRef | None:
        """The process that has this pid now; None when there is none, or only a zombie is left of it."""
        stat = _stat(pid)
        return cls(pid, stat[1]) if stat and stat[0] not in "ZX" else None

    def alive(self) -> bool:
        return ProcessRef.of(self.pid) == self

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """Signal it, unless it is gone or the pid now belongs to another process."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:  # the pidfd pins the process, so the check and the signal are about the same one
            if self.alive():
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, sig)
        finally:
            os.close(fd)


def _stat(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])


def start(
    argv: Sequence[str],
    *,
    log: Path,
    record: Callable[[ProcessRef], None],
    env: Mapping[str, str] | None = None,
) -> ProcessRef:
    """Start a daemon in a session of its own, output appended to `log`. `record` is called before it runs."""
    read_end, write_end = os.pipe()
    try:
        actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_DUP2, read_end, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _GATE, "gate", *argv],
            dict(os.environ if env is None else env),
            file_actions=actions,
            setsid=True,
        )
        ref = ProcessRef.of(pid)
        if ref is not None:  # gone already: nothing to record, the caller's readiness check reports it
            record(ref)
        with suppress(BrokenPipeError):
            os.write(write_end, b"\n")
        return ref or ProcessRef(pid, 0)
    finally:
        os.close(read_end)
        os.close(write_end)


def wait_gone(refs: Iterable[ProcessRef], seconds: float) -> list[ProcessRef]:
    """Wait until none of them lives, at most `seconds`. Returns those that still do."""
    deadline = time.monotonic() + seconds
    left = list(refs)
    while True:
        for ref in left:
            with suppress(ChildProcessError):  # reap our own children, others are init's
                os.waitpid(ref.pid, os.WNOHANG)
        left = [ref for ref in left if ref.alive()]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.02)


def in_network_namespace(namespace: Path) -> list[ProcessRef]:
    """Every process whose network namespace is the one bound at this path (`/run/netns/NAME`)."""
    try:
        wanted = namespace.stat()
    except FileNotFoundError:
        return []
    running: list[ProcessRef] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            have = (entry / "ns/net").stat()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if (have.st_ino, have.st_dev) == (wanted.st_ino, wanted.st_dev):
            ref = ProcessRef.of(int(entry.name))
            if ref is not None:
                running.append(ref)
    return running


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log, for an error message; empty when there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def proportional_bytes(ref: ProcessRef) -> int:
    """Proportional set size (Pss of smaps_rollup), bytes; 0 when the process is gone."""
    try:
        text = Path(f"/proc/{ref.pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
