"""The times by which files are dealt out to workers are those of files there are."""

from __future__ import annotations

from pathlib import Path

from longest_first import SECONDS, on_the_lab

ROOT = Path(__file__).parents[2]


def test_every_file_with_a_time_is_there() -> None:
    assert [file for file in SECONDS if not (ROOT / file).exists()] == []


def test_whatever_is_marked_for_the_lab_goes_to_a_worker_with_one() -> None:
    mark = "mark." + "lab"
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if mark in path.read_text()]
    assert marked
    assert [str(path) for path in marked if not on_the_lab(str(path.relative_to(ROOT)))] == []
