"""expected.log: what a scenario looked like when somebody last agreed to it, one part per phase."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Mapping

from chaos.replay import Told, replay
from chaos.scenario import SCENARIOS, Scenario
from chaos.stage import SimulatedStage, scratch


def play_simulated(scenario: Scenario, phase: str) -> Told:
    """On a simulated fleet of its own."""
    directory = scratch()
    try:
        return replay(scenario, phase, SimulatedStage(scenario, directory), directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def expected(scenario: Scenario) -> dict[str, list[str]]:
    """phase → lines; empty when it was never recorded."""
    path = SCENARIOS / scenario.name / "expected.log"
    parts: dict[str, list[str]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("== "):
            parts[line.removeprefix("== ").removesuffix(" ==").strip()] = []
        elif line:
            parts[list(parts)[-1]].append(line)
    return parts


def record(scenario: Scenario, told: Mapping[str, list[str]]) -> str:
    """Write it; what changed, as a diff, empty when nothing did."""
    path = SCENARIOS / scenario.name / "expected.log"
    before = path.read_text() if path.exists() else ""
    after = "\n".join("\n".join([f"== {_heading(phase)} ==", *lines, ""]) for phase, lines in told.items())
    path.write_text(after)
    return difference(before.splitlines(), after.splitlines(), scenario.name)


def _heading(phase: str) -> str:
    return phase or "once"


def lines_for(scenario: Scenario, phase: str) -> list[str]:
    return expected(scenario).get(_heading(phase), [])


def difference(before: list[str], after: list[str], name: str) -> str:
    return "\n".join(difflib.unified_diff(before, after, f"{name}: expected", f"{name}: observed", lineterm="", n=99))
