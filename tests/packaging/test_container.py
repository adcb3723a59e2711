"""The Containerfile: linted, nobody's root, healthy when the agent says so, and nothing secret in it. No image is built here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    """Each instruction with what follows it, in order."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in text.splitlines()) if name]


def test_it_is_linted() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed: ./dev brings it")
    done = subprocess.run([hadolint, FILE], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_runs_as_nobody_s_root_and_is_healthy_when_the_agent_says_so() -> None:
    last = dict(instructions())
    user, _, group = last["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    command = json.loads(last["HEALTHCHECK"].partition("CMD ")[2])
    assert "/healthz" in command[-1]
    assert json.loads(last["ENTRYPOINT"]) == ["lifeboat"]
    assert json.loads(last["CMD"])[0] == "run"


@pytest.mark.slow
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_its_health_check_asks_the_agent_itself_whatever_proxy_there_is(status: int, healthy: bool) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    _, *command = json.loads(dict(instructions())["HEALTHCHECK"].partition("CMD ")[2])
    nowhere = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        answering = threading.Thread(target=server.serve_forever, daemon=True)
        answering.start()
        environment = os.environ | nowhere | {"LIFEBOAT_STATUS__PORT": str(server.server_port)}
        asked = subprocess.run([sys.executable, *command], check=False, env=environment, capture_output=True)
        server.shutdown()
        answering.join()
    assert (asked.returncode == 0) is healthy, asked.stderr


def test_what_is_copied_is_there_and_let_through_and_nothing_else() -> None:
    allowed = {line[1:] for line in (FILE.parent / "Containerfile.dockerignore").read_text().split() if line[0] == "!"}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
    assert not [rest for name, rest in instructions() if name in ("ARG", "ADD")]
    assert not re.search(r"token|password|secret_|api_key", FILE.read_text(), re.IGNORECASE)
