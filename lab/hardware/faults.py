"""Breaking the lab's hardware and repairing it: what is broken is a JSON file that the driver of `lab.hardware.machine` follows.

The file also holds what makes the lab's hardware the hardware it is (seed and epoch), so that a restarted driver and
the backfilled history agree with the readings of before.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lab.hardware import noise
from lab.hardware.physics import Machine
from lab.hardware.trajectory import KINDS, Fault, FaultKind, Phase
from lab.nodes.node import Lab
from models.errors import BadInput, LabError
from tools.atomic_file import write_atomically

SECONDS_TO_ERRORS = 360.0
SECONDS_TO_DEATH = 600.0
"""Default tempo, from the onset. The flutter shows in the next scrape."""

__all__ = ["KINDS", "SECONDS_TO_DEATH", "SECONDS_TO_ERRORS", "FaultStatus", "clear", "start", "status"]


@dataclass(frozen=True, kw_only=True)
class FaultStatus:
    """One fault as it stands. Times are Unix seconds."""

    node: str
    kind: FaultKind
    phase: Phase
    onset: float
    errors_at: float
    death_at: float | None
    killed_at: float | None
    """When the driver killed the node; None while it lives."""


@dataclass
class State:
    """The lab's hardware: identity and faults."""

    seed: int
    epoch: float
    faults: list[Fault] = field(default_factory=list[Fault])
    killed: dict[str, float] = field(default_factory=dict[str, float])
    """Node → when a fault killed it."""

    def machine(self, node: str) -> Machine:
        return Machine(node, self.seed, self.epoch)

    def to_json(self) -> str:
        faults = [asdict(fault) for fault in self.faults]
        return json.dumps({"seed": self.seed, "epoch": self.epoch, "faults": faults, "killed": self.killed}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> State:
        data: dict[str, Any] = json.loads(text)
        return cls(data["seed"], data["epoch"], [Fault(**fault) for fault in data["faults"]], data["killed"])


def load(lab: Lab) -> State:
    """The state of the lab's hardware. Raises LabError when it was never started."""
    try:
        return State.from_json((lab.root / "hardware.json").read_text())
    except FileNotFoundError:
        raise LabError(f"lab {lab.name!r} has no hardware yet", hint="`lifeboat lab down`, then `up`") from None


def ensure(lab: Lab) -> State:
    """The state, made on first use: the seed comes from the lab's name, so a lab of that name has the same machines."""
    with _locked(lab):
        path = lab.root / "hardware.json"
        if not path.exists():
            _write(lab, State(seed=noise.key("lab", lab.name), epoch=float(int(time.time()))))
        return load(lab)


@contextmanager
def update(lab: Lab) -> Generator[State]:
    """Change the state; written when the block ends without an error. Waits for other writers."""
    with _locked(lab):
        state = load(lab)
        yield state
        _write(lab, state)


@contextmanager
def _locked(lab: Lab) -> Generator[None]:
    with (lab.root / "hardware.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(lab: Lab, state: State) -> None:
    write_atomically(lab.root / "hardware.json", state.to_json(), mode=None)


def start(
    lab: Lab,
    node: str,
    kind: FaultKind,
    *,
    seconds_to_errors: float = SECONDS_TO_ERRORS,
    seconds_to_death: float | None = SECONDS_TO_DEATH,
    now: float | None = None,
) -> FaultStatus:
    """Break a node's hardware: it flutters from now on, errs after `seconds_to_errors`, dies after `seconds_to_death`
    (both counted from now; None: never). Raises BadInput for an unknown node or fault, an impossible tempo, or a node
    that is broken already, LabError for a dead one."""
    lab.node(node)
    if kind not in KINDS:
        raise BadInput(f"fault {kind!r}: expected one of {', '.join(KINDS)}")
    at = time.time() if now is None else now
    fault = Fault(
        node=node, kind=kind, onset=at, seconds_to_errors=seconds_to_errors, seconds_to_death=seconds_to_death
    )
    with update(lab) as state:
        if _dead(lab, node, state):
            raise LabError(f"{node} is dead already", hint="`lifeboat lab down`, then `up`")
        for other in state.faults:
            if other.node == node and other.cleared_at is None:
                raise BadInput(
                    f"{node} has the fault {other.kind} already (phase {other.phase(at)})",
                    hint=f"repair it first: `lifeboat lab break {node} --clear`",
                )
        state.faults.append(fault)
    return _status(fault, state, at)


def clear(lab: Lab, node: str, *, now: float | None = None) -> list[FaultStatus]:
    """Repair a node: readings are healthy at once, counted errors stay counted. Returns what was repaired, maybe nothing.

    Raises BadInput for an unknown node, LabError for a dead one."""
    lab.node(node)
    at = time.time() if now is None else now
    repaired: list[FaultStatus] = []
    with update(lab) as state:
        if _dead(lab, node, state):
            raise LabError(f"{node} is dead: nothing left to repair", hint="`lifeboat lab down`, then `up`")
        for index, fault in enumerate(state.faults):
            if fault.node == node and fault.cleared_at is None:
                state.faults[index] = replace(fault, cleared_at=at)
                repaired.append(_status(state.faults[index], state, at))
    return repaired


def _dead(lab: Lab, node: str, state: State) -> bool:
    from lab.nodes.power import was_killed  # imports what reading the state never needs

    return node in state.killed or was_killed(lab, node)


def status(lab: Lab, *, now: float | None = None) -> list[FaultStatus]:
    """Every fault of the lab, repaired ones too, oldest first."""
    state = load(lab)
    at = time.time() if now is None else now
    return [_status(fault, state, at) for fault in state.faults]


def _status(fault: Fault, state: State, now: float) -> FaultStatus:
    return FaultStatus(
        node=fault.node,
        kind=fault.kind,
        phase=fault.phase(now),
        onset=fault.onset,
        errors_at=fault.errors_at,
        death_at=fault.death_at,
        killed_at=state.killed.get(fault.node),
    )
