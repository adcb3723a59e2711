"""`lifeboat run` in a forked process, on the nodes of a world elsewhere that knows who calls, and under which lease."""

from __future__ import annotations

import os
import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from chaos.kill_world import FastClock, RemoteNode, look, remote_nodes

import agent.assess.monitor
import tools.clock
import tools.journal.row_lease
from agent.actions.guarded_node import LOOKS
from agent.cli.main import main

POLICY = """
approval: {live_migrate: auto, cold_migrate: auto, cold_archive: auto}
cooldown: 1s
tiers: {dwell: 1s}
"""


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One of those that share a database."""

    name: str
    state: Path
    database_url: str
    lease_seconds: float
    runs_on: str = ""
    clock_off: timedelta = timedelta()
    """by which its host's clock is wrong"""

    def write_settings(self, archives: Path, key: bytes) -> Path:
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "archive-signing.key").write_bytes(key)
        (self.state / "archive-signing.key").chmod(0o600)
        (self.state / "policy.yaml").write_text(POLICY)
        nodes = "".join(f"  - {{name: {name}, libvirt_uri: 'simulated:///'}}\n" for name in ("a", "b", "c"))
        file = self.state / "lifeboat.yaml"
        file.write_text(
            f"state_dir: {self.state}\narchive_url: {archives.as_uri()}\nsimulated: true\nnodes:\n{nodes}"
            f"policy_file: {self.state / 'policy.yaml'}\ninterval: 1s\nagent: {self.name}\n"
            f"lease: {self.lease_seconds * 1000:.0f}ms\ndatabase_url: '{self.database_url}'\n"
            + (f"runs_on: {self.runs_on}\n" if self.runs_on else "")
        )
        return file


class CallingNode(RemoteNode):
    """Says who calls, and under which lease."""

    agent: str
    epoch: Callable[[], int | None]

    def __getattr__(self, method: str) -> Any:
        if method in LOOKS:
            return super().__getattr__(method)
        return lambda *arguments, **options: self._world.call_as(
            self.agent, self.epoch(), self.name, method, arguments, options
        )

    def write_disk(self, path: str, chunks: Any, **options: Any) -> int:
        return self._world.call_as(
            self.agent, self.epoch(), self.name, "write_disk", (path, list(chunks)), options
        )  # fmt: skip


def start_agent(agent: Agent, settings: Path, address: str) -> int:
    """Fork one; its pid. Call from a process with one thread only."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.closerange(3, 1024)  # whoever inherits a socket keeps it open
        out = os.open(agent.state / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        _simulate(agent, address)
        sys.argv = ["lifeboat", "run", "--config", str(settings)]
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _simulate(agent_: Agent, address: str) -> None:
    leases: list[Any] = []

    class KnownLease(tools.journal.row_lease.RowLease):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            leases.append(self)

    def epoch() -> int | None:
        return leases[-1].epoch()

    class WrongClock(FastClock):
        def now(self) -> datetime:
            return super().now() + agent_.clock_off

    nodes: dict[str, RemoteNode] = {}
    for name, node in remote_nodes(address).items():
        nodes[name] = calling = CallingNode(node._world, name)
        calling.agent, calling.epoch = agent_.name, epoch

    class FleetMonitor:
        unusable = MappingProxyType[str, str]({})

        def __init__(self, *_: object, **__: object) -> None: ...

        def poll(self) -> Any:
            return look(nodes, WrongClock().now(), failing=nodes["a"]._world.failing())

        def close(self) -> None: ...

    hypervisors = types.ModuleType("tools.libvirt.fleet")
    hypervisors.connect_nodes = lambda *_, **__: nodes  # type: ignore[attr-defined]
    sys.modules["tools.libvirt.fleet"] = hypervisors
    tools.journal.row_lease.RowLease = KnownLease  # type: ignore[misc]
    tools.clock.SystemClock = WrongClock  # type: ignore[misc,assignment]
    agent.assess.monitor.FleetMonitor = FleetMonitor  # type: ignore[misc,assignment]
