"""No token, key or password that lifeboat is given comes out of it: not in the journal, its export, a report, Slack, a language
model's record, what commands print, or any file of its own. Over whole runs, with servers that say back all they were sent."""

from __future__ import annotations

import base64
import json
import os
import random
import string
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from scenes.simulated_world import World, stand_in_for_the_fleet
from scenes.stub_openai import proposes, serving
from structlog.testing import capture_logs
from typer.testing import CliRunner

from agent.cli.app import app
from lab.slack.server import SlackStandIn
from lab.slack.workspace import Workspace
from tools.ports.records.evacuations import EvacuationEnded

pytestmark = pytest.mark.slow  # whole runs

PLACES = (
    "llm_key", "llm_url", "prometheus_header", "prometheus_url", "loki_header", "loki_url", "slack_bot", "slack_app", "webhook",
    "archive_key", "archive_option", "archive_url", "database_url", "variable",
)  # fmt: skip
"""where a secret is given: by file, by URL, by header, by environment"""


@contextmanager
def echo() -> Iterator[str]:
    """Refuses everything, and says back all that it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._refuse()

        def do_POST(self) -> None:
            self._refuse()

        def _refuse(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            said = f"refused: {self.command} {self.path} {dict(self.headers)} {self.rfile.read(length)!r}"
            body = json.dumps(
                {"status": "error", "errorType": "x", "error": {"message": said, "code": "invalid_api_key"}}
            )
            self.send_response(401, said[:200].replace("\n", " "))
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def forms(secret: str) -> set[bytes]:
    """As it is, and as what wraps it writes it."""
    encoded = base64.b64encode(f"lifeboat:{secret}".encode()).decode().rstrip("=")
    inner = base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]
    return {each.encode() for each in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], encoded, inner)}


class Run:
    """One lifeboat with a secret at every place, and everything that it ever says."""

    def __init__(self, directory: Path, secret: dict[str, str], hosts: dict[str, str], slack: SlackStandIn) -> None:
        self.directory, self.slack, self.said = directory, slack, list[str]()
        given = directory / "given"
        given.mkdir()
        for name in ("llm_key", "slack_bot", "slack_app", "webhook", "archive_key"):
            (given / name).write_text(secret[name])
            (given / name).chmod(0o600)
        nodes = "".join(f"  - {{name: {name}, libvirt_uri: 'simulated:///'}}\n" for name in ("a", "b", "c"))
        (directory / "policy.yaml").write_text(
            "approval: {people: {ana: [terminal:ana], tom: [slack:UTOM]}, approvers: [{may: [ana, tom]}], "
            "two_people: {stops_guests: false}}\n"
        )
        state = directory / "state"
        (directory / "lifeboat.yaml").write_text(
            f"state_dir: {state}\nsimulated: true\npolicy_file: policy.yaml\nnodes:\n{nodes}"
            f"archive_url: {(directory / 'archives').as_uri()}\narchive_key_file: given/archive_key\n"
            f"slack: {{channel: C0LIFEBOAT, bot_token_file: given/slack_bot, app_token_file: given/slack_app, "
            f"api_url: '{slack.api_url}'}}\nwebhook: {{port: {free_port()}, keys: {{pager: given/webhook}}}}\n"
            f"llm: {{base_url: 'http://lifeboat:{quote(secret['llm_url'], safe='')}@{hosts['llm']}/v1', model: m, "
            f"api_key_file: given/llm_key}}\n"
            f"prometheus: {{url: 'http://lifeboat:{quote(secret['prometheus_url'], safe='')}@{hosts['echo']}', "
            f"headers: {{Authorization: 'Bearer {secret['prometheus_header']}'}}}}\n"
            f"loki: {{url: 'http://lifeboat:{quote(secret['loki_url'], safe='')}@{hosts['echo']}', query: '{{a=\"$node\"}}', "
            f"headers: {{Authorization: 'Bearer {secret['loki_header']}'}}}}\n"
        )
        (directory / "away.yaml").write_text(
            f"state_dir: {directory / 'away'}\nnodes:\n{nodes}"
            f"archive_url: 's3://lifeboat:{quote(secret['archive_url'])}@bucket/x'\n"
            f"archive_options: {{key: lifeboat, secret: '{secret['archive_option']}', endpoint_url: 'http://{hosts['echo']}'}}\n"
            f"llm: {{base_url: 'http://lifeboat:{quote(secret['llm_url'], safe='')}@{hosts['echo']}/v1', model: m, "
            f"api_key_file: given/llm_key}}\n"
            f"database_url: 'postgresql://lifeboat:{quote(secret['database_url'], safe='')}@127.0.0.1:1/lifeboat'\n"
        )

    def lifeboat(self, *arguments: str) -> None:
        with capture_logs() as logged:
            result = CliRunner().invoke(app, arguments)
        told = result.exception.message if hasattr(result.exception, "message") else repr(result.exception)
        self.said += [result.output, result.stderr, str(told), str(getattr(result.exception, "hint", "")), str(logged)]

    def everything(self) -> dict[str, bytes]:
        workspace = self.slack.workspace
        kept = {
            str(path.relative_to(self.directory)): path.read_bytes()
            for path in self.directory.rglob("*")
            if path.is_file() and path.parent.name != "given" and path.suffix != ".yaml"
        }
        shown = [*(str(each.blocks) + each.text for each in workspace.messages.values()), *map(str, workspace.whispers)]
        files = [upload.content or b"" for upload in workspace.uploads.values()]
        return kept | {"printed": "\n".join(self.said).encode(), "Slack": "\n".join(shown).encode() + b"".join(files)}


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def drawn_secrets(seed: int) -> dict[str, str]:
    drawn, letters = random.Random(seed), string.ascii_letters + string.digits + "-_.~+/"
    return {name: "".join(drawn.choices(letters, k=drawn.randint(32, 44))) for name in PLACES}


@pytest.mark.parametrize("seed", range(int(os.environ.get("SECRETS_RUNS", "1"))))
def test_no_secret_comes_out(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`SECRETS_RUNS=20` plays as many, each with secrets of its own."""
    drawn = drawn_secrets(seed)
    secret = {**drawn, "slack_bot": f"xoxb-{drawn['slack_bot']}", "slack_app": f"xapp-{drawn['slack_app']}",
              "archive_key": "".join(f"{ord(c):02x}" for c in drawn["archive_key"].ljust(32, "x")[:32])}  # fmt: skip
    directory = tmp_path_factory.mktemp("secrets")
    workspace = Workspace(bot_token=secret["slack_bot"], app_token=secret["slack_app"])
    with pytest.MonkeyPatch.context() as patch, echo() as refusing, serving(proposes(note="fine")) as model:
        slack = SlackStandIn(workspace)
        try:
            hosts = {"echo": refusing, "llm": model.url.removeprefix("http://").removesuffix("/v1")}
            run = Run(directory, secret, hosts, slack)
            patch.chdir(directory)
            patch.setenv(
                "LIFEBOAT_DATABASE_URL", f"postgresql://lifeboat:{quote(secret['variable'], safe='')}@127.0.0.1:1/x"
            )
            (directory / "state").mkdir()
            world = World(directory / "state")
            patch.setattr("tools.libvirt.fleet.connect_nodes", lambda *_, **__: world.fleet.hypervisors())
            run.lifeboat("assess")  # Prometheus and Loki refuse, and say back what they were sent
            run.lifeboat("status", "--config", "away.yaml")
            run.lifeboat("doctor", "--config", "away.yaml")
            run.lifeboat("run", "--once")
            patch.delenv("LIFEBOAT_DATABASE_URL")
            run.lifeboat("doctor")
            stand_in_for_the_fleet(world, patch)
            patch.setattr("agent.approve.identity.terminal_identity", lambda: "terminal:ana")
            run.lifeboat("run", "--once", "--planner", "llm")
            run.lifeboat("show", "--json")
            (name,) = [e.evacuation for e in world.journal.entries() if e.kind == "approval-asked"]
            assert name is not None
            run.lifeboat("approve", name)
            run.lifeboat("run", "--once", "--planner", "llm")
            assert world.journal.of(EvacuationEnded), "".join(run.said)[-3000:]
            for command in ("status", "approvals --all --json", f"explain {name}", "audit show --most 500 --json",
                            "audit export -o export.jsonl", "config show", "doctor --json"):  # fmt: skip
                run.lifeboat(*command.split())
            world.journal.close()
        finally:
            slack.close()
        found = look_for(secret, run.everything())
    assert not found, found


def look_for(secret: dict[str, str], everything: dict[str, bytes]) -> list[str]:
    """Which secret came out where."""
    return [
        f"{name} in {where}: …{content[max(0, at - 80) : at + 80]!r}"
        for where, content in everything.items()
        for name, value in secret.items()
        for form in forms(value)
        if (at := content.find(form)) >= 0
    ]


def test_what_is_looked_for_would_be_found() -> None:
    secret = {"x": "s3cr3t/with+signs and more of it"}
    wrapped: dict[str, Any] = {form.decode(): form for form in forms(secret["x"])}
    for form in wrapped.values():
        assert look_for(secret, {"journal.sqlite": b"\x00..." + form + b"...\xff"})
