"""Whatever a vm, node, label, reason or message holds, the page runs nothing and the terminal obeys nothing."""

from __future__ import annotations

import io
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from rich.console import Console
from scenes import evacuations as scene
from scenes import hostile

from agent.report import Report, build_report, render_html, render_markdown, render_terminal
from models.evacuation import AttemptOutcome
from models.fleet import Priority
from models.risk.risk import Driver

ALLOWED_TAGS = frozenset(
    re.findall(
        r"\w+",
        """html head meta title style body main header p span time h1 h2 h3 h4 section ul ol li div b figure figcaption
        table thead tbody tr th td small br code em i dl dt dd footer svg g path text tspan use defs clippath rect""",
    )
)


class Page(HTMLParser):
    """What a browser would make of the page: tags, attributes, text, and ids."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile_report(*texts: str) -> Report:
    """Every place that outside text reaches holds one of `texts`, and every list of such places all of them."""
    one = texts[0]
    fleet = scene.fleet()
    vm = fleet.vms[0]
    vms = tuple(
        vm.model_copy(update={"uuid": f"u{n}{text}", "name": text, "workload": text, "priority": list(Priority)[n % 3]})
        for n, text in enumerate(texts)
    )
    fleet = fleet.model_copy(update={"vms": vms})
    plan = scene.plan(fleet)
    actions = tuple(a.model_copy(update={"reason": a.vm_name}) for a in plan.actions)
    by = plan.planned_by.model_copy(update={"notes": one, "fallback_reason": one, "model": one})
    plan = plan.model_copy(update={"actions": actions, "planned_by": by})
    drivers = tuple(Driver(signal="x", why=text) for text in texts)
    risks = [r.model_copy(update={"drivers": drivers, "unknown": texts, "model": one}) for r in scene.risks()]
    attempts = tuple(
        scene.attempt(a, n, AttemptOutcome.FAILED if n % 4 == 1 else AttemptOutcome.DONE).model_copy(
            update={"message": a.vm_name, "error_code": a.vm_name}
        )
        for n, a in enumerate(plan.moves)
    )
    evacuation = scene.evacuation(plan, attempts, node_dies=False)
    verdict = scene.verdict(plan, failing="limits")
    results = tuple(verdict.results[0].model_copy(update={"why": text, "passed": False}) for text in texts)
    return build_report(
        scene.situation(fleet, risks, now=scene.at(70)), plan,
        verdict.model_copy(update={"results": results, "approval_why": one}),
        now=scene.at(70), evacuation=evacuation.model_copy(update={"approved_by": one, "notes": texts, "id": one}),
        fleet_after=scene.after(fleet, attempts, node_dies=False), audit_head=one, version=one,
    )  # fmt: skip


def unseen(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and c != "\n"]


@pytest.mark.parametrize("texts", [hostile.MARKUP, hostile.UNSEEN, hostile.ORDERS], ids=["markup", "unseen", "orders"])
def test_the_page_holds_text_only(texts: tuple[str, ...]) -> None:
    source = render_html(hostile_report(*texts))
    page = Page(source)
    assert page.tags <= ALLOWED_TAGS
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("href", "src", "action", "xlink:href")]
    assert all(re.fullmatch(r"#m[0-9a-f]+", link) for link in links), links
    assert unseen(source) == []
    source.encode("utf-8")


@pytest.mark.parametrize("text", hostile.EVERY, ids=ascii)
def test_the_terminal_obeys_nothing(text: str) -> None:
    out = io.StringIO()
    render_terminal(hostile_report(text), Console(file=out, width=160, force_terminal=False))
    shown = out.getvalue()
    assert unseen(shown) == []
    assert "lifeboat evacuation" in shown


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize("text", hostile.EVERY, ids=ascii)
def test_the_terminal_obeys_nothing_at_any_width(text: str, width: int) -> None:
    out = io.StringIO()
    render_terminal(hostile_report(text), Console(file=out, width=width, force_terminal=False))
    assert unseen(out.getvalue()) == []


@pytest.mark.parametrize(
    "text", [*hostile.EVERY, "[a](https://evil.example)", "| x |", "# title", "- item", "@all", "`a`"]
)
def test_markdown_holds_no_markup_from_outside(text: str) -> None:
    shown = render_markdown(hostile_report(text))
    assert unseen(shown) == []
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    cells = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    assert set(cells) == {7, 9}, "every row of the two tables has its table's columns"
    assert not re.search(r"(?<!\\)[<@`\[]", shown)
    assert not re.search(r"(?i)https?:|www\.", shown)
    headings = [line for line in shown.splitlines() if line.startswith("#")]
    assert all(re.fullmatch("### [A-Z][a-z ,]+", line) for line in headings)


def test_a_name_is_shown_as_it_is_written() -> None:
    shown = " ".join(" ".join(Page(render_html(hostile_report(*hostile.MARKUP))).texts).split())
    for text in hostile.MARKUP:
        assert " ".join(text.split()) in shown


def test_nothing_in_the_page_is_fetched() -> None:
    source = render_html(hostile_report("vm-1"))
    assert not re.search(r"https?://|@import|<link|<script|<iframe", source)
    assert all(found.startswith("#") for found in re.findall(r"url\(([^)]*)\)", source))
    assert "default-src 'none'" in source


def test_ids_are_unique_and_point_somewhere() -> None:
    page = Page(render_html(hostile_report("vm-1")))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    wanted = {value.lstrip("#") for name, value in page.attributes if name in ("href", "aria-labelledby")}
    assert wanted <= set(ids)
