"""Each query of the Grafana dashboard, run on a real Prometheus that scrapes an agent."""

from __future__ import annotations

import json
import re
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
from scenes.grafana_schema import Dashboard
from scenes.simulated_world import POLICY, World

from agent.approve.approvers import DenyingApprover
from agent.llm.choose import planner_named
from agent.service.control_loop import ControlLoop
from agent.service.observability.archive_metrics import ArchiveMetrics
from agent.service.observability.catalogue import FAMILIES
from agent.service.observability.job_metrics import JobMetrics
from agent.service.observability.observability import Observability
from agent.service.upkeep.archive_checks import ArchiveChecks
from agent.service.upkeep.jobs import JobCounts
from agent.settings import Settings
from models.situation import Situation
from tools.libvirt.given_up import GivenUp

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[5] / "deploy/grafana-dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
CHOSEN = {"instance": ".+", "horizon": "2h", "__rate_interval": "1m"}
"""variable → what somebody chose; the last is Grafana's own"""
AS_CHOSEN = re.compile(r"\$(\w+)")


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
    told.metrics.registry.register(ArchiveMetrics(ArchiveChecks(Settings(), world.journal, clock), clock))
    told.metrics.registry.register(JobMetrics(JobCounts()))
    told.metrics.given_up = GivenUp("abc").counts
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
        found = ask(prometheus, AS_CHOSEN.sub(lambda each: CHOSEN[each[1]], query).replace(" > 0", ""))
        assert found, query


def test_each_metric_is_drawn() -> None:
    drawn = set(re.findall(r"lifeboat_\w+", " ".join(QUERIES)))
    for family in FAMILIES:
        assert any(name.startswith(family.name) for name in drawn), family.name


def test_the_dashboard_is_whole() -> None:
    assert len(QUERIES) > 20
    known = Dashboard.model_validate_json(json.dumps(DASHBOARD))
    for panel in known.panels:
        assert panel.field_config.defaults.thresholds.steps[0].value is None
        assert all(step.value is not None for step in panel.field_config.defaults.thresholds.steps[1:]), panel.title
        assert [each.ref_id for each in panel.targets] == list("ABCDEF"[: len(panel.targets)]), panel.title
        assert all(each.instant is not each.range for each in panel.targets), panel.title
    assert set(AS_CHOSEN.findall(" ".join(QUERIES))) == {
        *(each.name for each in known.templating.variables if each.type == "query"), "__rate_interval",
    }  # fmt: skip
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
