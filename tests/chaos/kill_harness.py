"""Kill lifeboat at every durable step of an evacuation, run it again, and look at what is true then. SIMULATED nodes.

    PYTHONPATH=tests python -m chaos.kill_harness --runs 3       # every step, three times: minutes
    PYTHONPATH=tests python -m chaos.kill_harness --sample 10    # as the test suite does

`lifeboat apply` runs in a forked process with its imports done; the nodes live in a server process and go on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaos.kill_lifeboat import run_lifeboat
from chaos.kill_world import POLICY, VMS, FastClock, Truth, WorldServer, look, remote_nodes, settings_yaml

from agent.actions.runner import needs_recovery
from agent.documents import write_value
from agent.plan.solver import plan as solve
from agent.state.requests import unfinished
from models.errors import LifeboatError
from models.evacuation import AttemptOutcome
from models.situation import Situation
from tools.archive.store import FsspecArchiveStore
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.attempts import AttemptEnded
from tools.simulated.migration import Phase

_PATIENCE_SECONDS = 240.0
_IMPORTED_ONCE = (
    "agent.cli.app", "agent.service.session", "agent.execute.workflows", "agent.report", "rich.console", "rich.live",
    "tools.guest_probe", "tools.prometheus.health",
)  # fmt: skip
"""what `lifeboat apply` loads, dbos with it: before the forks, once for all of them"""


@dataclass(frozen=True)
class Point:
    """Where lifeboat is killed: at a step by number, or when a vm's migration reaches a phase."""

    step: int | None = None
    vm: str = ""
    phase: Phase | None = None
    second_step: int | None = None
    """also kill the lifeboat that recovers, at this step of its own"""

    def __str__(self) -> str:
        where = f"step {self.step}" if self.phase is None else f"{self.vm} {self.phase}"
        return where + (f", then step {self.second_step} of the recovery" if self.second_step else "")


@dataclass(kw_only=True)
class Found:
    """What was true after one kill and the same command once more."""

    point: str
    killed: bool
    seconds: float
    """from the second start until it was over"""
    outcomes: dict[str, str] = field(default_factory=dict[str, str])
    """of an evacuation, by vm"""
    lost: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])
    left_over: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    """the journal and the nodes disagree, or nothing terminal was reached"""
    last_step: str = ""

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.left_over or self.wrong)


class Harness:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = str(directory / "world.sock")
        self.server = WorldServer(address=self.address, authkey=b"kill")
        for module in _IMPORTED_ONCE:
            importlib.import_module(module)

    def __enter__(self) -> Harness:
        self.server.start()
        self.world: Any = self.server.world()  # type: ignore[attr-defined]
        self.nodes = remote_nodes(self.address)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()

    def count_steps(self) -> int:
        """Durable steps of an undisturbed evacuation. Raises RuntimeError when that is not clean itself."""
        found = self.kill(Point(), "dry")
        if not found.clean or set(found.outcomes.values()) != {"done"}:
            raise RuntimeError(f"an undisturbed evacuation is not clean: {found}")
        return len((self.directory / "dry" / "first.steps").read_text().splitlines())

    def kill(self, point: Point, name: str) -> Found:
        state = self.directory / name
        state.mkdir()
        self.world.reset()
        fleet, risks = look(self.nodes)
        plan = solve(Situation(fleet=fleet, risks=risks, policy=POLICY, now=FastClock().now()))
        write_value(state / "plan.json", plan)
        (state / "lifeboat.yaml").write_text(settings_yaml(state))
        arguments = ["apply", str(state / "plan.json"), "--config", str(state / "lifeboat.yaml"), "--approve-as", "ana"]

        pid = run_lifeboat(arguments, self.address, state / "first.log", die_at=point.step)
        if point.phase is not None:
            self.world.kill_at(point.vm, point.phase, pid)
        killed = wait_for(pid) == -signal.SIGKILL
        steps = (state / "first.steps").read_text().splitlines() if (state / "first.steps").exists() else []
        if point.second_step is not None:
            wait_for(run_lifeboat(arguments, self.address, state / "second.log", die_at=point.second_step))
        started = time.monotonic()
        if killed:
            wait_for(run_lifeboat(arguments, self.address, state / "last.log"))
        seconds = round(time.monotonic() - started, 2)
        found = Found(point=str(point), killed=killed, seconds=seconds, last_step=steps[-1] if steps else "")
        judge_what_is_left(found, state, self.world.truth(), self.world.uuids())
        return found


def judge_what_is_left(found: Found, state: Path, truth: Truth, uuids: dict[str, str]) -> None:
    """What is lost, doubled, left over or wrong, by the journal and the archives in `state`, goes into `found`."""
    journal = SqliteJournal(state / "journal.sqlite")
    store = FsspecArchiveStore((state / "archives").as_uri(), key_file=state / "archive-signing.key")
    archived: set[str] = set()
    for entry in store.entries():
        try:
            archived.add(store.verify(entry.id).vm_uuid)
        except LifeboatError as error:
            found.wrong.append(str(error))
    found.doubled += sorted(truth.ran_twice) + [vm for vm, where in truth.running_on.items() if len(where) > 1]
    found.lost += [vm for vm in VMS if not truth.known_on[vm] and uuids[vm] not in archived]
    found.left_over += [*truth.stamped, *truth.arriving, *truth.stray_images]
    try:
        journal.verify()
    except LifeboatError as error:
        found.wrong.append(str(error))
    if unfinished(journal):
        found.wrong.append(f"evacuation {unfinished(journal)} reached no end")
    results: dict[str, list[dict[str, Any]]] = {}
    for ended in journal.of(AttemptEnded):
        attempt = ended.record.attempt
        results.setdefault(attempt.action.vm, []).append(attempt.model_dump(mode="json"))
    by_uuid = {uuid: vm for vm, uuid in uuids.items()}
    frozen = {vm for vm, each in results.items() if each[-1]["outcome"] == AttemptOutcome.INDETERMINATE}
    found.left_over += [f"lock on {by_uuid[vm]}" for vm in journal.locks() if vm not in frozen]
    if needs_recovery(journal) and not frozen and not found.left_over:
        found.wrong.append("something begun was not ended")
    for uuid, each in results.items():
        vm, last = by_uuid[uuid], each[-1]
        found.outcomes[vm] = last["outcome"]
        if len(each) > 1:
            found.wrong.append(f"{vm}: {len(each)} attempts by one evacuation's plan")
        was_running = vm != "spare"
        if last["action"]["kind"] == "cold_archive" and last["outcome"] == "done":
            expected, known = [], ["a"]
        else:
            node = last["action"]["target"] if last["outcome"] == "done" else "a"
            expected, known = [node] if was_running else [], [node]
        if last["outcome"] != "indeterminate" and (truth.running_on[vm], truth.known_on[vm]) != (expected, known):
            found.wrong.append(
                f"{vm}: journal says {last['outcome']}, it runs on {truth.running_on[vm]}, known on {truth.known_on[vm]}"
            )
    journal.close()


def wait_for(pid: int) -> int:
    """Exit code, or minus the signal. Kills what does not end in time."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 124


def points(steps: int, sample: int | None) -> Iterator[Point]:
    """Every step, and every phase of both live migrations; or that many of them, spread evenly."""
    phases = [Point(vm=vm, phase=phase) for vm in ("web", "db") for phase in Phase]
    every = [*(Point(step) for step in range(1, steps + 1)), *phases]
    if sample is None:
        yield from every
        return
    yield from (every[round((each + 0.5) * len(every) / sample)] for each in range(sample - 1))
    yield Point(vm="web", phase=Phase.COPYING)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--second", type=int, help="also kill the recovery, at every so many of its own steps")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="directory for what each run leaves")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lifeboat-kill-") as made, Harness(chosen.keep or Path(made)) as harness:
        steps = harness.count_steps()
        found: list[Found] = []
        for run in range(chosen.runs):
            for number, point in enumerate(points(steps, chosen.sample)):
                if chosen.second:
                    point = Point(point.step, point.vm, point.phase, second_step=1 + (number * 7) % chosen.second)
                found.append(harness.kill(point, f"{run}-{number}"))
                if not found[-1].clean and not chosen.json:
                    print(f"{run}-{number}: {found[-1]}", flush=True)
    outcomes = Counter(outcome for each in found for outcome in each.outcomes.values())
    summary = {
        "steps": steps,
        **counts(found),
        "slowest_recovery_seconds": max(each.seconds for each in found),
        "outcomes": dict(outcomes),
    }
    return tell(summary, found, as_json=chosen.json)


def counts(found: Sequence[Found]) -> dict[str, int]:
    """How many runs there were, how many were killed, and in how many each thing was not as it has to be."""
    return {
        "runs": len(found),
        "killed": sum(each.killed for each in found),
        "lost": sum(bool(each.lost) for each in found),
        "doubled": sum(bool(each.doubled) for each in found),
        "left_over": sum(bool(each.left_over) for each in found),
        "wrong": sum(bool(each.wrong) for each in found),
    }


def tell(summary: dict[str, Any], found: Sequence[Found], *, as_json: bool) -> int:
    """Print the summary as one JSON object, with `as_json` the runs that were not clean, too; the exit code."""
    unclean = [asdict(each) for each in found if not each.clean]
    print(json.dumps(summary | {"simulated": True} | ({"found": unclean} if as_json else {})))
    return 1 if unclean else 0


if __name__ == "__main__":
    sys.exit(main())
