"""docs/chaos.md says what the scenarios show."""

from __future__ import annotations

from chaos.golden import difference
from chaos.table import PATH, make_table


def test_the_page_is_in_step_with_the_scenarios() -> None:
    changed = difference(PATH.read_text().splitlines(), make_table().splitlines(), "docs/chaos.md")
    assert not changed, f"{changed}\n\n`python -m tests.chaos table` writes it"
