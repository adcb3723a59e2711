"""Evacuations that an older lifeboat began and a kill cut off, gone on with by today's. SIMULATED nodes.

    PYTHONPATH=tests python -m chaos.upgrade begin COMMIT --every 12 -o DIR    # by that commit's code, killed at every 12th step
    PYTHONPATH=tests python -m chaos.upgrade finish tests/scenes/upgrade/*.tar.xz

What older versions leave is kept in `tests/scenes/upgrade`, as a clone may be without history: COMMIT-STEP.tar.xz holds a
state_dir, and in `truth.json` how the nodes really were.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from chaos.kill_harness import Found, judge_what_is_left
from chaos.kill_world import NODES, POLICY, truth_of

from agent.actions.resources import Resources
from agent.execute.workflows import Durable
from models.fleet import Fleet, VmState
from models.risk.risk import Risk
from tools.archive.store import FsspecArchiveStore
from tools.clock import VirtualClock
from tools.domain.xml import parse_domain
from tools.journal.sqlite import SqliteJournal
from tools.simulated.fleet import SimulatedFleet
from tools.simulated.state import Guest, Image, SimulatedDomain

_AWAY = timedelta(minutes=1)
"""from the kill until the new version is started"""
_REPOSITORY = Path(__file__).parents[2]


def finish(kept: Path, directory: Path) -> Found:
    """Today's lifeboat on what an older one left in the archive `kept`: what is true then."""
    with tarfile.open(kept) as archive:
        archive.extractall(directory, filter="data")
    told = json.loads((directory / "truth.json").read_text())
    state = directory / "state"
    clock = VirtualClock(datetime.fromisoformat(told["now"]) + _AWAY)
    fleet = _fleet(told, clock)
    journal = SqliteJournal(state / "journal.sqlite")
    store = FsspecArchiveStore((state / "archives").as_uri(), key_file=state / "archive-signing.key", clock=clock)
    hands = Resources(nodes=fleet.hypervisors(), clock=clock, journal=journal, archives=store)
    steps = (state / "first.steps").read_text().splitlines()
    found = Found(point=kept.name.removesuffix(".tar.xz"), killed=True, seconds=0.0, last_step=steps[-1])
    Durable(state).recover(hands, POLICY, lambda: _look(fleet))
    journal.close()
    judge_what_is_left(found, state, truth_of(fleet, told["uuids"]), told["uuids"])
    return found


def _look(fleet: SimulatedFleet) -> tuple[Fleet, list[Risk]]:
    now, nodes = fleet.clock.now(), fleet.hypervisors().values()
    seen = Fleet(
        observed_at=now,
        nodes=tuple(node.node() for node in nodes),
        vms=tuple({vm.uuid: vm for node in nodes for vm in node.vms()}.values()),
    )
    chance = {"a": 0.95}
    return seen, [
        Risk(node=name, probability={"2h": chance.get(name, 0.001)}, data_age_seconds=1.0, assessed_at=now)
        for name in NODES
    ]


def _fleet(told: dict[str, Any], clock: VirtualClock) -> SimulatedFleet:
    """The nodes as they were when the older lifeboat was gone."""
    fleet = SimulatedFleet(clock)
    fleet.shared_images.update(_images(told["shared_images"]))
    for uuid, (dirty, stop) in told["guests"].items():
        fleet.guests[uuid] = Guest(dirty, stop)
    for name in NODES:
        fleet.add_node(name)
        machine = fleet.machines[name]
        machine.images.update(_images(told["nodes"][name]["images"]))
        for uuid, kept in told["nodes"][name]["domains"].items():
            machine.domains[uuid] = SimulatedDomain(
                described=parse_domain(kept["xml"]), **kept | {"state": VmState(kept["state"])}
            )
    fleet.ran_twice.update(told["ran_twice"])
    return fleet


def _images(kept: dict[str, list[Any]]) -> dict[str, Image]:
    images: dict[str, Image] = {}
    for path, (kind, virtual, allocated, identity) in kept.items():
        image = images[path] = Image.standing_for(allocated, "", random.Random(0))
        image.format, image.virtual_bytes, image.identity = kind, virtual, identity or image.identity
    return images


@contextmanager
def _checked_out(commit: str) -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="lifeboat-older-") as made:
        where = Path(made) / "older"
        git = ["git", "-C", str(_REPOSITORY), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(where), commit], check=True)
        try:
            yield where
        finally:
            subprocess.run([*git, "remove", "--force", str(where)], check=True)


def begin(commit: str, *, every: int, into: Path) -> None:
    """With the code of that commit: an evacuation killed at every so many-th step, one archive each."""
    into.mkdir(parents=True, exist_ok=True)
    with _checked_out(commit) as older, tempfile.TemporaryDirectory(prefix="lifeboat-older-") as made:
        steps = _begin(older, Path(made) / "whole", None)
        for step in range(every, steps, every):
            directory = Path(made) / str(step)
            _begin(older, directory, step)
            with tarfile.open(into / f"{commit[:7]}-{step:03d}.tar.xz", "w:xz") as archive:
                for name in ("truth.json", "state"):
                    archive.add(directory / name, name)


def _begin(older: Path, directory: Path, step: int | None) -> int:
    """How many steps there were before the end."""
    directory.mkdir()
    script = Path(__file__).with_name("upgrade_begin.py")
    environment = os.environ | {
        "PYTHONPATH": f"{older / 'tests'}:{older}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    subprocess.run(
        [sys.executable, str(script), str(directory), "none" if step is None else str(step)],
        cwd=older,
        env=environment,
        check=True,
    )
    return len((directory / "state" / "first.steps").read_text().splitlines())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    does = parser.add_subparsers(dest="does", required=True)
    beginning = does.add_parser("begin")
    beginning.add_argument("commit")
    beginning.add_argument("--every", type=int, default=12)
    beginning.add_argument("-o", dest="into", type=Path, required=True)
    finishing = does.add_parser("finish")
    finishing.add_argument("kept", type=Path, nargs="+")
    chosen = parser.parse_args(arguments)
    if chosen.does == "begin":
        begin(chosen.commit, every=chosen.every, into=chosen.into)
        return 0
    unclean = 0
    for kept in chosen.kept:
        with tempfile.TemporaryDirectory(prefix="lifeboat-upgrade-") as made:
            found = finish(kept, Path(made))
        unclean += not found.clean
        print(json.dumps(asdict(found)), flush=True)
    print(json.dumps({"simulated": True, "runs": len(chosen.kept), "unclean": unclean}))
    return 1 if unclean else 0


if __name__ == "__main__":
    sys.exit(main())
