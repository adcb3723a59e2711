"""`lifeboat` in a forked process, on the nodes of a world elsewhere, that SIGKILLs itself at its k-th durable step.

A durable step is a write of the journal (records, locks), a commit of DBOS that wrote something, an fsync or rename of
the archive store, or a call that changes something on a node; the process may die before or after each.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy.engine.default
from chaos.kill_world import FastClock, RemoteNode, look, remote_nodes

import agent.assess.monitor
import tools.clock
import tools.journal.sqlite
from agent.cli.main import main

CHANGES = (
    "tag_attempt", "migrate_live", "abort_job", "shut_down", "power_off", "start", "resume", "define", "undefine",
    "create_disk", "write_disk", "delete_disk", "wipe_disk", "write_state_file", "delete_state_file", "wipe_state_file",
    "set_autostart", "set_on_poweroff", "restore_snapshots", "restore_checkpoints",
)  # fmt: skip


class Steps:
    """Counts durable steps; dies at the wanted one. With `armed`, those from when that file is there."""

    def __init__(self, die_at: int | None, trace: Path, armed: Path | None = None) -> None:
        self._die_at, self._trace, self._armed = die_at, trace, armed
        self._mutex = threading.Lock()
        self._count = 0

    def step(self, what: str) -> None:
        if self._armed is not None and not self._armed.exists():
            return
        with self._mutex:
            self._count += 1
            with self._trace.open("a") as trace:
                trace.write(f"{self._count} {what}\n")
            if self._count == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            label = f"{name} {arguments[1].kind}" if name in ("append", "append_if_newest") else name
            self.step(f"before {label}")
            answer = original(*arguments, **options)
            self.step(f"after {label}")
            return answer

        setattr(owner, name, wrapped)

    def around_commits(self) -> None:
        dialect = sqlalchemy.engine.default.DefaultDialect
        original, written = dialect.do_commit, dict[int, int]()

        def do_commit(self_: Any, connection: Any) -> None:
            changes = connection.dbapi_connection.total_changes if hasattr(connection, "dbapi_connection") else (
                connection.total_changes
            )  # fmt: skip
            wrote = changes != written.get(id(connection), 0)
            written[id(connection)] = changes
            if wrote:
                self.step("before dbos commit")
            original(self_, connection)
            if wrote:
                self.step("after dbos commit")

        dialect.do_commit = do_commit  # type: ignore[method-assign]


class CountingNode(RemoteNode):
    """Steps around every call that changes something."""

    steps: Steps

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = super().__getattr__(method)
        if method not in CHANGES:
            return call

        def counted(*arguments: Any, **options: Any) -> Any:
            self.steps.step(f"before {method}")
            answer = call(*arguments, **options)
            self.steps.step(f"after {method}")
            return answer

        return counted


def run_lifeboat(
    arguments: Sequence[str], address: str, output: Path, *, die_at: int | None = None, armed: Path | None = None
) -> int:
    """Fork a lifeboat; its pid. Call from a process with one thread only."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        steps = Steps(die_at, output.with_suffix(".steps"), armed)
        _simulate(address, steps)
        if armed is not None:
            _count_answers(steps)
        sys.argv = ["lifeboat", *arguments]
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _count_answers(steps: Steps) -> None:
    """Also what is written by compare-and-set, and what is shown in Slack."""
    from tools.slack.client import SlackChat

    steps.around(tools.journal.sqlite.SqliteJournal, "append_if_newest")
    for name in ("post", "edit", "attach"):
        steps.around(SlackChat, name)


def _simulate(address: str, steps: Steps) -> None:
    nodes: dict[str, RemoteNode] = {}
    for name, node in remote_nodes(address).items():
        nodes[name] = CountingNode(node._world, name)
        nodes[name].steps = steps  # type: ignore[attr-defined]

    class FleetMonitor:
        unusable = MappingProxyType[str, str]({})

        def __init__(self, *_: object, **__: object) -> None: ...

        def poll(self) -> Any:
            return look(nodes)

        def close(self) -> None: ...

    hypervisors = types.ModuleType("tools.libvirt.fleet")
    hypervisors.connect_nodes = lambda *_, **__: nodes  # type: ignore[attr-defined]
    sys.modules["tools.libvirt.fleet"] = hypervisors
    tools.clock.SystemClock = FastClock  # type: ignore[misc,assignment]
    agent.assess.monitor.FleetMonitor = FleetMonitor  # type: ignore[misc,assignment]
    for name in ("append", "lock", "unlock"):
        steps.around(tools.journal.sqlite.SqliteJournal, name)
    for name in ("fsync", "replace"):
        steps.around(os, name)
    steps.around_commits()
