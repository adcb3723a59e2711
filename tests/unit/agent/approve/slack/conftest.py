"""One Slack and two connections for all tests of this folder: to open and close them takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from scenes.slack_office import Connection, Office

from lab.slack.server import SlackStandIn, slack_stand_in


@pytest.fixture(scope="package")
def connections() -> Iterator[tuple[SlackStandIn, list[Connection]]]:
    with slack_stand_in() as slack:
        made = [Connection(slack), Connection(slack)]
        yield slack, made
        with ThreadPoolExecutor(len(made)) as pool:
            list(pool.map(lambda each: each.real.close(), made))


@pytest.fixture
def office(tmp_path: Path, connections: tuple[SlackStandIn, list[Connection]]) -> Iterator[Office]:
    slack, made = connections
    workspace = slack.workspace
    for kept in (
        workspace.messages,
        workspace.whispers,
        workspace.forms,
        workspace.calls,
        workspace.failing,
        workspace.uploads,
    ):
        kept.clear()
    slack.down = False
    slack.request_url = None
    workspace.posts_a_second = None
    slack.acknowledged.clear()
    with closing(Office(tmp_path, slack, made)) as office:
        yield office
        office.until(lambda: not any(each.under_way for each in made), "a press is never settled")
