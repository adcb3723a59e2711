"""A real `lifeboat run`, told by SIGHUP to read its files anew."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


class Agent:
    """One process; its log is waited for, line by line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = [_free_port() for _ in range(3)]
        self.write()
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("lifeboat"), "run", "--config", str(folder / "lifeboat.yaml")],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_without_lifeboat(folder),
        )  # fmt: skip

    def write(self, *lines: str, port: int | None = None, state: str = "state", interval: str = "1h") -> None:
        (self.folder / "lifeboat.yaml").write_text(
            f"nodes: [{{name: node-a, libvirt_uri: 'qemu+unix:///session?socket={self.folder}/nobody'}}]\n"
            f"state_dir: {self.folder / state}\ninterval: {interval}\nstatus: {{port: {port or self.ports[0]}}}\n"
            + "".join(f"{line}\n" for line in lines)
        )

    def until(self, *events: str) -> dict[str, Any]:
        """The next line of the log that tells one of these."""
        assert self.process.stderr is not None
        said: list[str] = []
        for line in self.process.stderr:
            said.append(line)
            told = json.loads(line) if line.startswith("{") else {}
            if told.get("event") in events:
                return told
        raise AssertionError(f"it ended: {said}")

    def reload(self) -> dict[str, Any]:
        """`reload-refused`, or `watching` of the agent that goes on with other settings."""
        self.process.send_signal(signal.SIGHUP)
        return self.until("reload-refused", "watching")

    def is_healthy(self, port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60) as answer:
                return answer.status == 200
        except OSError:
            return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _without_lifeboat(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LIFEBOAT_", "OTEL_"))}
    return kept | {"HOME": str(folder)}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    running = Agent(tmp_path)
    try:
        running.until("pass")
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def test_what_it_could_not_go_on_with_is_refused_and_it_goes_on_as_it_was(agent: Agent) -> None:
    folder, (port, other, taken) = agent.folder, agent.ports
    (folder / "short").write_text("abc")
    (folder / "token").write_text("xoxb-1\n")
    with ExitStack() as held:
        held.enter_context(socket.create_server(("127.0.0.1", taken)))
        for line, said in {
            f"webhook: {{port: {other}, keys: {{ops: {folder / 'short'}}}}}": "expected 32 bytes or more, found 3",
            f"webhook: {{port: {taken}}}": f"webhook.port {taken} can't be listened on",
            f"slack: {{channel: C024BE91L, bot_token_file: {folder / 'token'}, app_token_file: {folder / 'token'}}}": "xapp-",
            f"archive_key_file: {folder / 'short'}": "archive_key_file",
            "database_url: 'postgresql://lifeboat@127.0.0.1:9/none'": "can't be reached",
            "policy_file: /nowhere.yaml": "/nowhere.yaml",
            "intervall: 1m": "intervall",
        }.items():
            agent.write(line)
            told = agent.reload()
            assert told["event"] == "reload-refused", line
            assert said in told["message"], line
    agent.write(state="elsewhere")
    assert "state_dir: takes effect at a restart alone" in agent.reload()["message"]
    assert agent.is_healthy(port)
    agent.write()
    assert agent.reload()["event"] == "watching"


def test_what_is_right_is_taken_over_by_the_same_process(agent: Agent) -> None:
    port, other, third = agent.ports
    (agent.folder / "policy.yaml").write_text("autonomy: shadow\n")
    agent.write(
        f"webhook: {{port: {third}}}", f"policy_file: {agent.folder / 'policy.yaml'}", port=other, interval="30m"
    )
    assert agent.reload()["interval_seconds"] == 1800.0
    agent.until("pass")
    assert agent.is_healthy(other)
    assert not agent.is_healthy(port)
    with socket.create_connection(("127.0.0.1", third), timeout=60):
        pass
    agent.write("log: {level: error}", port=other)
    agent.process.send_signal(signal.SIGHUP)
    agent.until("reloading")
    agent.write("intervall: 1m", port=other)
    agent.process.send_signal(signal.SIGHUP)
    assert agent.until("watching", "pass", "reload-refused")["event"] == "reload-refused", (
        "what is below error is not said"
    )
    agent.process.terminate()
    assert agent.process.wait(120) == 0
