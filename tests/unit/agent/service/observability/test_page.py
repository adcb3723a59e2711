"""The status page in a real Chromium, by what WCAG 2.2 AA asks: contrast, order, names, and nothing that runs off a phone."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from scenes.browser import Browser, chromium, wait_for
from scenes.topology import NOW, Topology

from agent.actions.progress import PAUSED, CopyState, Progress
from agent.service.observability.moves import MoveReading
from agent.service.observability.page import render_status
from agent.service.observability.passes import PassLine
from agent.service.observability.server import serving_status
from agent.state.status import AttemptStatus, EvacuationStatus, Status
from models.past_moves import Tripped
from models.plan import Action, ActionKind

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LONG = "rack-7-" + "x" * 53
"""a name without a place to break it"""

FAINTEST = """
(() => {
  const channel = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const rgba = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] === 1) return colour;
      if (colour[3] !== 0) throw new Error('half a background: ' + e.outerHTML);
    }
    return rgba(matchMedia('(prefers-color-scheme: dark)').matches ? 'rgb(18,18,18)' : 'rgb(255,255,255)');
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim()) continue;
    seen += 1;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgba(style.color)), light(behind(element))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < (large ? 3 : 4.5)) faint.push([walker.currentNode.data.trim(), contrast]);
  }
  return {seen, faint};
})()
"""
"""Texts below the contrast of success criterion 1.4.3, by the formula for relative luminance that WCAG gives."""


def storm() -> str:
    """Thirty nodes of which ten look ill, a tripped breaker, a guest that needs a human, moves that run, a pass that failed."""
    scene = Topology().node(LONG, risk=0.93).node("silent", risk=None)
    for number in range(28):
        scene.node(f"node-{number:02}", risk=0.7 if number < 9 else 0.001).vm(f"vm-{number}", on=f"node-{number:02}")

    def attempt(number: int, outcome: str, message: str) -> AttemptStatus:
        return AttemptStatus(
            id=f"evac-20261129-0301-{number:03}", vm=f"uuid-{number}", vm_name=f"vm-{number}", kind="live_migrate", source=LONG,
            target="node-20", outcome=outcome, message=message, locked=True,
        )  # fmt: skip

    def reading(number: int, phase: str, *, still: float | None = None) -> MoveReading:
        action = Action(
            kind=ActionKind.LIVE_MIGRATE, vm=f"uuid-{number}", vm_name=f"vm-{number}", source=LONG, target="node-20", reason=""
        )  # fmt: skip
        copy = CopyState(
            remaining_bytes=3 << 30, bytes_per_second=110e6, dirty_bytes_per_second=90e6, iteration=7, expected_seconds=None,
            ladder="it rewrites its memory as fast as the link carries it",
        )  # fmt: skip
        progress = Progress(
            attempt=f"evac-20261129-0301-{number:03}", action=action, phase=phase,
            fraction=0.43 if still else None, copy=copy if still else None,
        )  # fmt: skip
        return MoveReading(progress=progress, seconds=95.0, age_seconds=0.5, still_seconds=still)

    evacuation = EvacuationStatus(
        id="evac-20261129-0301", started_at=NOW.isoformat(), outcome="running", actions=12, over=4,
        why=f"{LONG} is about to fail",
        attempts=(
            attempt(1, "running", ""), attempt(3, "running", ""),
            attempt(2, "indeterminate", f"runs on {LONG} or on node-20: neither answers"),
        ),
    )  # fmt: skip
    return render_status(
        status=Status(
            evacuations=(evacuation,),
            audit_head="9f" * 32,
            breaker=Tripped(at=NOW, rule="storm", why="10 of 30 nodes look ill at once"),
        ),
        questions=(),
        situation=scene.situation,
        passes=[
            PassLine(ended_at=NOW, seconds=4.2, outcome="failed", why="Prometheus at http://prom.example:9090 is unreachable"),
            PassLine(ended_at=NOW - timedelta(seconds=30), seconds=0.8, outcome="evacuated", why=""),
        ],
        not_ready="the last look that worked was 12 minutes ago",
        look_seconds=130.0,
        moves=(reading(1, PAUSED, still=4.2), reading(4, "checking")),
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def shown(browser: Browser) -> Iterator[Browser]:
    with serving_status(
        0, metrics=lambda: b"", page=storm, why_not_ready=lambda: None, first_look_seconds=lambda: None
    ) as port:
        browser.call("Page.navigate", url=f"http://127.0.0.1:{port}/")
        wait_for(lambda: browser.run("document.readyState == 'complete' && !!document.querySelector('main')"))
        yield browser


@pytest.mark.parametrize("width", [1000, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_can_be_read_and_nothing_runs_off_the_side(shown: Browser, width: int, scheme: str) -> None:
    shown.look_like(width, scheme)
    found: dict[str, Any] = shown.run(FAINTEST)
    assert found["seen"] > 100
    assert found["faint"] == []
    over = "e => e.getBoundingClientRect().right > WIDTH + 1".replace("WIDTH", str(width))
    wide = f"[...document.querySelectorAll('body *')].filter({over}).map(e => e.outerHTML)"
    assert shown.run(wide) == []
    assert shown.run("document.documentElement.scrollWidth") <= width
    if folder := os.environ.get("LIFEBOAT_PICTURES"):  # for a look by eye
        picture = shown.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        (Path(folder) / f"status-{width}-{scheme}.png").write_bytes(base64.b64decode(picture))


def test_a_reader_of_screens_finds_its_way(shown: Browser) -> None:
    tree = shown.call("Accessibility.getFullAXTree")["nodes"]
    roles = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
    assert shown.run("document.documentElement.lang") == "en"
    assert "breaker" in shown.run("document.title") or "not ready" in shown.run("document.title")
    assert [role for role, _ in roles if role in ("banner", "main", "contentinfo")] == ["banner", "main", "contentinfo"]
    assert len([name for role, name in roles if role == "alert"]) == 3
    assert {"Waits for approval", "Evacuations", "Risk by node", "Last passes"} <= {
        name for role, name in roles if role == "region"
    }
    assert [name for role, name in roles if role.startswith("progress")] == ["actions over", "how far"]
    assert shown.run("[...document.querySelectorAll('h1,h2,h3')].map(h => h.tagName).join()") == "H1,H2,H2,H2,H2"
    assert shown.run("[...document.querySelectorAll('th')].every(th => th.scope)")


def test_it_runs_nothing_and_fetches_nothing_but_itself(shown: Browser) -> None:
    assert shown.run("document.querySelectorAll('script, img, link, iframe').length") == 0
    assert shown.run("performance.getEntriesByType('resource').map(e => e.name)") in (
        [],
        [shown.run("origin") + "/favicon.ico"],
    )
    assert int(shown.run("document.querySelector('meta[http-equiv=refresh]').content")) >= 5
