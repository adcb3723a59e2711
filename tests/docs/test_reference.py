"""docs/reference says what the code has, and the runbook has a section for each code that calls a human."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scenes.doc_commands import ROOT

from agent.cli.known_names import errors
from agent.cli.reference import DIRECTORY, pages
from models.errors import Indeterminate

CALLS_A_HUMAN = {
    "halted",
    "record-not-written",
    "journal-invalid",
    "audit-broken",
    "precheck-identity",
    "archive-failed",
}
"""codes whose exit code alone does not say so"""


@pytest.mark.parametrize("name", ["cli.md", "policy.md", "errors.md", "records.md", "metrics.md", "../runbook.md"])
def test_the_page_is_as_the_code_has_it(name: str) -> None:
    assert (DIRECTORY / name).read_text(encoding="utf-8") == pages()[name], "run: python -m agent.cli.reference"


def test_each_code_that_calls_a_human_has_what_to_look_at_and_to_do() -> None:
    page = Path(ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    codes = {kind.code for kind in errors()}
    wanted = {kind.code for kind in errors() if kind.exit_code == Indeterminate.exit_code} | CALLS_A_HUMAN
    assert wanted <= codes
    assert wanted | {"breaker", "storm"} <= set(sections)
    for text in sections.values():
        assert re.findall(r"^\*\*(\w.*?)\*\*", text, re.MULTILINE) == ["Means", "Look", "Do", "Don't"]
