"""Scenario files: what is asked of lifeboat, what breaks at which moment, and what is done about it afterwards.

    tests/chaos/scenarios/NAME/scenario.yaml     read here
    tests/chaos/scenarios/NAME/expected.log      what can be observed when it is played; see golden.py

A file is a sequence of plain sentences; `happenings.py` knows the verbs. A moment is one of

    VM is PHASE                    of its live migration: begin, copying, switchover, handed over, done
    PROCESS writes KIND [about VM] a record is in the journal, PROCESS being `lifeboat` or `another lifeboat`
    PROCESS says PHASE about VM    a line of progress
    PROCESS calls METHOD           of a node, before it is done; `called METHOD` after
    PROCESS locks VM, unlocks VM, reads a disk, makes the plan, asks a human
    N seconds have passed          of the stage's time
    moment N                       the Nth of the processes' moments, whatever it is

`$phase` stands for each of `phases` in turn: one file is then played once per phase.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

SCENARIOS = Path(__file__).parent / "scenarios"


class _Read(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fault(_Read):
    """`when` a moment comes for the first time, what happens, in this order."""

    when: str
    do: tuple[str, ...] = Field(min_length=1)


class Guest(_Read):
    """What there is of a vm that makes it an awkward one."""

    devices: str = ""
    """more of them, as libvirt's XML has them"""
    only_running: str = ""
    """devices that the running guest has and its definition does not"""
    on_poweroff: str = "destroy"
    checkpoints: int = 0
    snapshots: int = 0
    saved_memory: bool = False


class Scenario(_Read):
    """One scenario as its file has it."""

    name: str
    title: str
    """the row's name in docs/chaos.md"""
    why: str = ""
    plan: tuple[str, ...] = ("infer-1: live_migrate to node-b",)
    """one action a line, `VM: KIND [to NODE]`; each runs alone, in this order"""
    vms: dict[str, dict[str, Any]] = {}
    """what differs from the standard vms, as `SimulatedFleet.add_vm` takes it; simulated only"""
    guests: dict[str, Guest] = {}
    """what a vm names, or libvirt has of it, besides; simulated only"""
    policy: dict[str, Any] = {}
    asks: bool = False
    """policy wants a human, who is asked and agrees"""
    phases: tuple[str, ...] = ("",)
    faults: tuple[Fault, ...] = ()
    afterwards: tuple[str, ...] = ()
    """what happens once lifeboat's command has ended (or was stopped)"""
    known: dict[str, str] = {}
    """phase → what lifeboat is known to do wrong there; the test fails once it no longer does"""
    lab: bool | tuple[str, ...] = False
    """played on real libvirt as well; in these phases only, where they are listed"""
    lab_order: int = 0
    """later ones leave a node dead, and the lab is made anew after them"""

    def on(self, stage: Literal["simulated", "lab"]) -> tuple[str, ...]:
        """The phases that are played there."""
        if stage == "simulated" or self.lab is True:
            return self.phases
        return self.lab or ()

    def involved(self) -> tuple[str, ...]:
        """The vms that the plan names, in its order."""
        return tuple(line.partition(":")[0] for line in self.plan)

    def at(self, phase: str) -> Scenario:
        """With `$phase` filled in."""
        return self.model_copy(
            update={
                "faults": tuple(
                    Fault(
                        when=fault.when.replace("$phase", phase), do=tuple(d.replace("$phase", phase) for d in fault.do)
                    )
                    for fault in self.faults
                )
            }
        )


def read_scenario(directory: Path) -> Scenario:
    """Raises ValueError naming the file and the field at fault."""
    path = directory / "scenario.yaml"
    try:
        return Scenario.model_validate({"name": directory.name, **yaml.safe_load(path.read_text())})
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def all_scenarios() -> list[Scenario]:
    return [read_scenario(path.parent) for path in sorted(SCENARIOS.glob("*/scenario.yaml"))]
