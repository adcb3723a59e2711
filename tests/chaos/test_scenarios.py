"""Every scenario, in every phase, on a simulated fleet: the invariants hold, and what is observed is what was agreed to.

A changed log is shown as a diff. Once it is what you want: `python -m tests.chaos record NAME`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from chaos.golden import difference, expected, lines_for, play_simulated
from chaos.scenario import Scenario, all_scenarios
from chaos.verbs import happen

SCENARIOS = all_scenarios()


def played(scenarios: Iterable[Scenario]) -> list[Any]:
    return [
        pytest.param(
            scenario,
            phase,
            id=f"{scenario.name}: {phase}" if phase else scenario.name,
            marks=[pytest.mark.xfail(strict=True, reason=scenario.known[phase])] if phase in scenario.known else [],
        )
        for scenario in scenarios
        for phase in scenario.phases
    ]


@pytest.mark.parametrize(("scenario", "phase"), played(SCENARIOS))
def test_scenario(scenario: Scenario, phase: str) -> None:
    told = play_simulated(scenario, phase)
    assert told.broken == [], "\n".join(told.lines)
    if phase not in scenario.known:
        changed = difference(lines_for(scenario, phase), told.lines, scenario.name)
        assert not changed, f"{changed}\n\nif that is right: python -m tests.chaos record {scenario.name}"


def test_no_expectation_is_left_of_a_phase_that_is_not_played() -> None:
    for scenario in SCENARIOS:
        agreed = {phase or "once" for phase in scenario.phases if phase not in scenario.known}
        assert set(expected(scenario)) == agreed, scenario.name


def test_a_sentence_that_nobody_understands_is_an_error() -> None:
    with pytest.raises(ValueError, match="nobody knows how"):
        happen("set fire to node-a", _NoPlay())  # type: ignore[arg-type]


class _NoPlay:
    scenario = SCENARIOS[0]
