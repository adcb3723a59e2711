"""For mkdocs: the words behind a fence's language are for the tests, and links out of docs/ are to the source tree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, *, config: Any) -> Files:
    """The README is the front page."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", page)
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fences as the highlighter takes them; files outside docs/ as their names, for the site has no page of them."""
    markdown = re.sub(r"^```(sh|console)[ \t].+$", r"```\1", markdown, flags=re.MULTILINE)
    here = (ROOT / "docs" / page.file.src_uri).parent

    def link(found: re.Match[str]) -> str:
        target = found[2].partition("#")[0]
        inside = not target or "://" in target or ((here / target).is_file() and target.endswith(".md"))
        if inside and (here / target).resolve().is_relative_to(ROOT / "docs"):
            return found[0]
        return found[0] if "://" in target else found[1]

    return re.sub(r"\[([^\]\n]+)\]\(([^)\s]+)\)", link, markdown)
