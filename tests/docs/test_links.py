"""Each link between the documents leads to a file that is there, and each `#…` to a heading of it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from scenes.doc_commands import PAGES, ROOT

DECISIONS = tuple(sorted((ROOT / "docs/decisions").glob("*.md")))


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS], ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\[[^\]\n]+\]\(([^)\s]+)\)", _prose(page.read_text(encoding="utf-8")))
    assert [link for link in links if not _leads_somewhere(page, link)] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, open_pages = set[Path](), [ROOT / "README.md"]
    while open_pages:
        page = open_pages.pop()
        reached.add(page)
        for link in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8")):
            linked = (page.parent / link).resolve()
            if linked.is_file() and linked not in reached:
                open_pages.append(linked)
    readme_names_the_folders = {page for page in PAGES if page.parent.name == "reference"}
    assert {str(page.relative_to(ROOT)) for page in set(PAGES) - reached - readme_names_the_folders} == set()


def _leads_somewhere(page: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and target.is_relative_to(ROOT) and (not anchor or anchor in _anchors(target))


@cache
def _anchors(page: Path) -> frozenset[str]:
    """What headings are called in a link: those names that GitHub and the site's builder make alike."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = set[str]()
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", heading)).strip().lower()
        on_github, on_the_site = plain.replace(" ", "-"), re.sub(r"[-\s]+", "-", plain)
        if on_github == on_the_site:
            found.add(on_github)
    return frozenset(found)


def _prose(markdown: str) -> str:
    """Without what stands in fences and in code, where brackets mean something else."""
    return re.sub(r"`[^`\n]*`", "`…`", re.sub(r"^```.*?^```$", "", markdown, flags=re.MULTILINE | re.DOTALL))
