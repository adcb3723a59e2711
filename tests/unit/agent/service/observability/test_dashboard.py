"""Each query of the Grafana dashboard, run on a real Prometheus that scrapes an agent."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from scenes.simulated_world import POLICY, World

from agent.approve.approvers import DenyingApprover
from agent.llm.choose import planner_named
from agent.service.control_loop import ControlLoop
from agent.service.observability.observability import Observability
from models.situation import Situation

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[5] / "deploy/grafana-dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
NEVER_HAPPENED = ("lifeboat_pass_failures_total", "lifeboat_rule_failures_total")
"""counters by what went wrong have no series before it has"""


def until(condition: Callable[[], Any], what: str) -> Any:
    pause = threading.Event()
    for _ in range(600):
        with suppress(OSError):
            if found := condition():
                return found
        pause.wait(0.1)
    raise AssertionError(what)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[int]:
    """The port of an agent that has moved vms off a node."""
    world = World(tmp_path)
    clock = world.fleet.clock
    seen = Situation(fleet=world.snapshot(), risks=world.risks(), policy=POLICY, now=clock.now())
    loop = ControlLoop(
        hands=world.hands, policy=POLICY, look=lambda: (world.snapshot(), world.risks()),
        planner=planner_named("solver", None), approver=DenyingApprover(),
    )  # fmt: skip
    told = Observability(
        journal=world.journal, clock=clock, seen=lambda: seen, tiers=loop.tiers, holder=lambda: None, llm=tmp_path / "llm",
        interval_seconds=30.0,
    )  # fmt: skip
    told.began()
    told.ended(loop.run_once())
    with told.serving(0) as port:
        yield port
    world.journal.close()


@pytest.fixture
def prometheus(agent: int, tmp_path: Path) -> Iterator[str]:
    if shutil.which("prometheus") is None:
        pytest.skip("no Prometheus here")
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n"
        f"  - {{job_name: lifeboat, static_configs: [{{targets: ['127.0.0.1:{agent}']}}]}}\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}",
    ]  # fmt: skip
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(
        f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=10
    ) as answer:
        return json.load(answer)["data"]["result"]


@pytest.mark.slow
def test_each_query_is_answered_with_series(prometheus: str) -> None:
    until(
        lambda: ask(prometheus, "count_over_time(lifeboat_breaker_tripped[1m]) >= 3"), "Prometheus has scraped thrice"
    )
    for query in QUERIES:
        found = ask(prometheus, query.replace("$instance", ".+"))
        assert found or any(name in query for name in NEVER_HAPPENED), query


def test_the_dashboard_is_whole() -> None:
    assert len(QUERIES) > 20
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
