"""`lifeboat run` from asking to done, on SIMULATED nodes and virtual time, with a terminal and Slack as views of one question."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.simulated_world import World, stand_in_for_the_fleet
from typer.testing import CliRunner

from agent.cli.app import app
from lab.slack.server import SlackStandIn, slack_stand_in
from models.errors import LifeboatError
from tools.ports.records.evacuations import EvacuationStarted

POLICY = """
approval:
  people: {ana: [terminal:ana], tom: [terminal:tom, slack:UTOM]}
  approvers: [{may: [ana, tom]}]
"""


@pytest.fixture
def slack() -> Iterator[SlackStandIn]:
    with slack_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slack: SlackStandIn) -> Iterator[World]:
    """The settings' nodes are this world's, and a look finds that `a` is failing."""
    world = World(tmp_path)
    stand_in_for_the_fleet(world, monkeypatch)
    monkeypatch.chdir(tmp_path)
    nodes = "".join(f"  - {{name: {name}, libvirt_uri: 'simulated:///'}}\n" for name in ("a", "b", "c"))
    (tmp_path / "bot").write_text(slack.workspace.bot_token)
    (tmp_path / "app").write_text(slack.workspace.app_token)
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "lifeboat.yaml").write_text(
        f"state_dir: {tmp_path}\nsimulated: true\npolicy_file: policy.yaml\nnodes:\n{nodes}"
        f"archive_url: {(tmp_path / 'archives').as_uri()}\n"
        f"slack: {{channel: C0LIFEBOAT, bot_token_file: bot, app_token_file: app, api_url: '{slack.api_url}'}}\n"
    )
    yield world
    world.journal.close()


def lifeboat(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, LifeboatError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.mark.slow
def test_asked_in_one_pass_agreed_to_by_two_and_carried_out_by_a_later_process(
    world: World, slack: SlackStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifeboat("run", "--once")
    (asked,) = json.loads(lifeboat("approvals", "--json"))["approvals"]
    assert (asked["state"], asked["nodes"]) == ("pending", {"a": "evacuate"})
    (message,) = slack.workspace.messages.values()
    assert message.buttons
    assert asked["evacuation"] in message.shown
    status = json.loads(lifeboat("status", "--json"))["evacuations"][0]
    assert status["outcome"] == "waits for approval"
    for who in ("ana", "tom"):
        monkeypatch.setattr("agent.approve.identity.terminal_identity", lambda who=who: f"terminal:{who}")
        lifeboat("approve", asked["evacuation"])
    assert world.fleet.running_on(world.web) == ["a"]

    lifeboat("run", "--once")
    assert world.fleet.running_on(world.web) != ["a"]
    told = json.loads(lifeboat("show", asked["evacuation"], "--json"))
    assert told["state"] == "done"
    assert [one["by"] for one in told["agreements"]] == ["terminal:ana", "terminal:tom"]
    message, report = slack.workspace.messages.values()
    assert report.thread_ts == message.ts
    assert asked["evacuation"] in report.shown
    (upload,) = slack.workspace.uploads.values()
    assert b"<!doctype html>" in (upload.content or b"").lower()
    assert "done by lifeboat" in message.shown
    assert not message.buttons

    lifeboat("run", "--once")
    assert len(world.journal.of(EvacuationStarted)) == 1
    assert not world.fleet.ran_twice
