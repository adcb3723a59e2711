"""The scenarios marked `lab`, on real libvirt: the same file, the same replay, the same invariants, the same log."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from chaos.golden import difference, lines_for
from chaos.replay import replay
from chaos.scenario import Scenario, all_scenarios
from chaos.stage import scratch

pytestmark = pytest.mark.lab


class Labs:
    """The lab the scenarios share, made anew after one that killed a node: a dead node does not come back."""

    def __init__(self) -> None:
        self._name = "chaos" + os.environ.get("PYTEST_XDIST_WORKER", "")
        self._lab: Any = None

    def get(self) -> Any:
        from lab.lifecycle.up import up

        if self._lab is None:
            self.drop()
            self._lab = up(self._name, print, bare=True)
        return self._lab

    def drop(self) -> None:
        from lab.lifecycle.down import down

        self._lab = None
        down(self._name)


@pytest.fixture(scope="module")
def labs() -> Iterator[Labs]:
    from lab.nodes.preflight import preflight

    missing = preflight()
    if missing:
        pytest.skip(f"no lab here: {'; '.join(str(thing) for thing in missing)}")
    labs = Labs()
    yield labs
    labs.drop()


def _played() -> list[Any]:
    each = [(s, phase) for s in sorted(all_scenarios(), key=lambda s: (s.lab_order, s.name)) for phase in s.on("lab")]
    return [
        pytest.param(
            scenario,
            phase,
            id=f"{scenario.name}: {phase}",
            marks=[pytest.mark.xfail(strict=True, reason=scenario.known[phase])] if phase in scenario.known else [],
        )
        for scenario, phase in each
    ]


@pytest.mark.xdist_group("chaos-lab")
@pytest.mark.parametrize(("scenario", "phase"), _played())
def test_scenario_on_real_libvirt(labs: Labs, scenario: Scenario, phase: str) -> None:
    from chaos.stage_lab import LabStage, reset

    chaos_lab = labs.get()
    reset(chaos_lab)
    directory = scratch()
    stage = LabStage(chaos_lab, directory)
    began = time.monotonic()
    try:
        told = replay(scenario, phase, stage, directory)
    finally:
        stage.close()
        shutil.rmtree(directory, ignore_errors=True)
        if any("kill node" in done for fault in scenario.faults for done in fault.do):
            labs.drop()
    sys.stdout.write(
        "\n  ".join([f"\n{scenario.name} [{phase}]: {time.monotonic() - began:.1f} s", *told.lines]) + "\n"
    )
    assert stage.failures == []
    assert told.broken == [], "\n".join(told.lines)
    if phase not in scenario.known:
        changed = difference(lines_for(scenario, phase), told.lines, scenario.name)
        assert not changed, f"real libvirt differs from what is agreed to (which the simulated fleet does):\n{changed}"
