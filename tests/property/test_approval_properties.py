"""Clicks, expiries, edits, drifts and restarts in any order: a plan runs at most once, and never without a valid approval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from chaos.approval_orders import POLICIES, QUIET, RacingJournal, World, check, pairs, play, play_many
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes.approvals import ask_about

from models.errors import LifeboatError
from tools.journal.sqlite import SqliteJournal


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path_factory.mktemp("approvals") / "journal.sqlite")
    yield journal
    journal.close()


@given(steps=pairs, two=st.booleans(), stops=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
def test_a_plan_runs_at_most_once_and_never_without_a_valid_approval(
    journal: SqliteJournal, steps: Any, two: bool, stops: bool
) -> None:
    play(journal, steps, two, stops)


@pytest.mark.slow
def test_the_same_a_thousand_times(journal: SqliteJournal) -> None:
    """`python -m chaos.approval_orders` plays ten thousand, which takes minutes."""
    play_many(journal, 1000, 0)


def test_the_rules_of_this_test_are_met_by_a_plan_that_ran(journal: SqliteJournal) -> None:
    """Without one the others might check nothing."""
    world = World(RacingJournal(journal), POLICIES[True], "evac-yes")
    ask_about(journal, world.policy, name=world.name, archive=True, requested_by="terminal:asker")
    for step in (("agree", "terminal:ana"), ("agree", "slack:UTOM"), ("run",), ("run",)):
        world.do(step)
    assert len(world.ran) == 1
    check(journal, world, needed=2)
    with pytest.raises(LifeboatError, match="executing"):
        world._do(("reject", "terminal:ana"))
