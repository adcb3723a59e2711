"""docs/architecture.md names files and functions that are there: a stranger searches for what it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def names_in(file: Path) -> set[str]:
    """Functions, classes, their methods, and constants: `f`, `C`, `C.m`, `RULES`."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            names |= {f"{node.name}.{each.name}" for each in ast.walk(node) if isinstance(each, ast.FunctionDef)}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_every_file_and_name_is_there() -> None:
    named = re.findall(r"`((?:agent|models|tools|lab|tests|deploy|docs)/[\w/.*]*)(?:: ([\w.]+))?`", PAGE)
    assert len(named) > 40
    missing = [path for path, _ in named if not list(ROOT.glob(path.rstrip("/")))]
    assert missing == []
    wrong = [f"{path}: {name}" for path, name in named if name and name not in names_in(ROOT / path)]
    assert wrong == []
