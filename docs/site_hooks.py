"""For mkdocs: the words behind a fence's language are for the tests, links out of docs/ are to the source tree, and the
notebooks are pages, as they were last run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_FRONT = "---\nhide: [toc]\n---\n"  # room for the figure that it begins with


def on_files(files: Files, *, config: Any) -> Files:
    """The README is the front page; each notebook is a page of its own."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=_FRONT + _to_pages(re.sub(r"\]\(docs/", "](", page))))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=_page_of(notebook)))
    return files


def _page_of(notebook: Path) -> str:
    parts: list[str] = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"\]\(\.\./docs/", "](../", source))
        else:
            parts.append(f"```python\n{source}\n```")
            parts += [_shown(output) for output in cell["outputs"]]
    return "\n\n".join(parts) + "\n"


def _shown(output: dict[str, Any]) -> str:
    """What a cell printed or drew."""
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="what the cell above drew" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        return '<div class="table">' + re.sub(r"\s*\n\s*", " ", "".join(data["text/html"])) + "</div>"
    text = output.get("text") or data.get("text/plain", "")
    return f"```text\n{''.join(text).rstrip()}\n```"


def _to_pages(markdown: str) -> str:
    return re.sub(r"\]\((notebooks/\w+)\.ipynb\)", r"](\1.md)", markdown)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fences as the highlighter takes them; files outside docs/ as their names, for the site has no page of them."""
    markdown = re.sub(r"^```(sh|console)[ \t].+$", r"```\1", markdown, flags=re.MULTILINE)
    here = (ROOT / "docs" / page.file.src_uri).parent

    def link(found: re.Match[str]) -> str:
        target = found[2].partition("#")[0]
        if (here / target).resolve().parent == ROOT / "notebooks":
            return f"[{found[1]}]({'../' * page.file.src_uri.count('/')}notebooks/{Path(target).stem}.md)"
        made = (here / target).resolve().parent == ROOT / "docs/notebooks"
        inside = made or not target or "://" in target or ((here / target).is_file() and target.endswith(".md"))
        if inside and (here / target).resolve().is_relative_to(ROOT / "docs"):
            return found[0]
        return found[0] if "://" in target else found[1]

    return re.sub(r"\[([^\]\n]+)\]\(([^)\s]+)\)", link, markdown)
