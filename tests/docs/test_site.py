"""The site of docs/ is built without a warning, needs nothing from elsewhere, and can be read on a phone."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.browser import Browser, chromium
from scenes.doc_commands import PAGES, ROOT

pytestmark = pytest.mark.slow
BUILDER = ".tools/docs/bin/mkdocs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `./dev docs` builds it."""
    if not (ROOT / BUILDER).exists():
        pytest.skip("the site's builder is not here: ./dev docs, or a whole ./dev test, brings it")
    here = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = tmp_path_factory.mktemp("site")
    command = [BUILDER, "build", "--quiet", "--strict", "--site-dir", str(built)]
    done = subprocess.run(command, cwd=ROOT, env=here, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return built


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with chromium(tmp_path) as opened:
        yield opened


def test_every_page_and_notebook_can_be_chosen_from_the_menu(site: Path) -> None:
    menu = (site / "tutorial.html").read_text(encoding="utf-8")
    pages = {
        page.relative_to(ROOT / "docs").with_suffix(".html") for page in PAGES if page.is_relative_to(ROOT / "docs")
    }
    pages |= {Path("notebooks") / page.with_suffix(".html").name for page in (ROOT / "notebooks").glob("*.ipynb")}
    assert {str(page) for page in pages if f'href="{page}" class="md-nav__link"' not in menu} == {"tutorial.html"}


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = r'<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)="((?:https?:)?//[^"]+)"'
    assert [each for page in site.rglob("*.html") for each in re.findall(fetched, page.read_text("utf-8"))] == []


def test_no_page_is_wider_than_a_phone(site: Path, browser: Browser) -> None:
    browser.look_like(390, "light")
    pages = [page for page in sorted(site.rglob("*.html")) if page.name != "404.html" and "decisions" not in page.parts]
    assert len(pages) > 40
    wider = {}
    for page in pages:
        browser.call("Page.navigate", url=page.as_uri())
        browser.run("new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))")
        if (width := browser.run("document.documentElement.scrollWidth")) > 390:
            wider[page.name] = width
    assert wider == {}
