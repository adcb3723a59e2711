"""The planner beside Ganeti's hbal and beside largest-first, where time is short: expected loss on the same fleets.

    python -m bench.plan_peers [--fleets 30] [--json]

One node of eight is about to fail within minutes. hbal (Debian's ganeti-htools-3.0) is told that it is offline, in evacuation
mode; its moves are taken in its own order, one at a time and side by side, whichever loses less. One model prices all of them.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.plan.solver import plan
from agent.plan.timing.waves import pack, schedule
from bench.plan import GIB, NOW, POLICY
from models.fleet import Fleet, Node, Priority, Vm
from models.plan import ActionKind, Plan
from models.planning.schedule import Move
from models.risk.risk import Risk
from models.situation import Situation

HBAL = shutil.which("hbal") or "/usr/lib/ganeti/3.0/usr/bin/hbal"
_MOVE = re.compile(r"^\s*\d+\.\s+(\S+)\s+(\S+)\s+=>\s+(\S+)\s")
MEBIBYTE = 1 << 20


def situation(seed: int) -> Situation:
    """20 vms on a node that fails within minutes, seven others about half full."""
    chance = random.Random(seed)
    nodes = tuple(
        Node(name=f"node-{i}", memory_bytes=256 * GIB, cpus=64, cpu_overcommit=8.0, migration_bytes_per_second=1.25e8)
        for i in range(8)
    )
    vms = tuple(
        Vm(
            uuid=f"vm-{n:03}", name=f"vm-{n:03}", node=nodes[0 if n < 20 else 1 + n % 7].name, vcpus=2,
            memory_bytes=chance.choice([1, 2, 4, 8, 16]) * GIB, priority=chance.choice(list(Priority)),
            dirty_bytes_per_second=chance.choice([1e5, 1e6, 5e6]),
        )
        for n in range(20 + 7 * 14)
    )  # fmt: skip
    curve = {"5m": chance.choice([0.3, 0.6, 0.8]), "30m": 0.9, "2h": 0.95}
    risks = [Risk(node="node-0", probability=curve, data_age_seconds=1)]
    risks += [Risk(node=node.name, probability={"2h": 0.001}, data_age_seconds=1) for node in nodes[1:]]
    return Situation(fleet=Fleet(observed_at=NOW, nodes=nodes, vms=vms), risks=risks, policy=POLICY, now=NOW)


def as_hbal(fleet: Fleet) -> str:
    """The fleet as hbal's text file: every disk reachable from everywhere."""
    nodes: list[str] = []
    for node in fleet.nodes:
        free = node.memory_bytes - sum(vm.memory_bytes for vm in fleet.vms_on(node.name))
        sizes = f"{node.memory_bytes // MEBIBYTE}|0|{free // MEBIBYTE}"
        nodes.append(f"{node.name}|{sizes}|10000000|10000000|{node.cpus}|N|uuid-g|1||N|0|0|1.0")
    vms = [f"{vm.name}|{vm.memory_bytes // MEBIBYTE}|1024|{vm.vcpus}|running|Y|{vm.node}||ext||1|-" for vm in fleet.vms]
    policy = "|128,1,1024,1,1,1|128,1,128,1,1,1;262144,64,1048576,16,8,12|ext|32.0|32.0"
    return "\n".join(["g|uuid-g|preferred||", "", *nodes, "", *vms, "", "", policy]) + "\n"


def hbals_moves(fleet: Fleet) -> list[Move]:
    """What hbal would do, in its order."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "cluster.data"
        file.write_text(as_hbal(fleet))
        command = [HBAL, "-t", str(file), "-O", "node-0", "-E"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found = [match for line in printed.splitlines() if (match := _MOVE.match(line))]
    by_name = {vm.name: vm for vm in fleet.vms}
    return [Move(vm=by_name[m[1]], kind=ActionKind.LIVE_MIGRATE, source=by_name[m[1]].node, target=m[3]) for m in found]


def loss(moves: Sequence[Move], at: Situation) -> float:
    """Expected loss of moves in this order: one at a time or side by side, whichever is less."""
    fleet, policy = at.fleet, at.policy
    best = float("inf")
    for waves in ([[move] for move in moves], pack(moves, fleet, policy, 0.5), pack(moves, fleet, policy, 0.0)):
        timings = schedule(waves, fleet, policy)
        total = 0.0
        for vm in fleet.vms_on("node-0"):
            done = timings[vm.uuid].done if vm.uuid in timings else at.horizon_seconds
            total += policy.weights.of(vm.priority) * at.failure_probability("node-0", min(done, at.horizon_seconds))
        best = min(best, total)
    return best


def moves_of(made: Plan, fleet: Fleet) -> list[Move]:
    return [Move(vm=fleet.vm_by_uuid[a.vm], kind=a.kind, source=a.source, target=a.target) for a in made.moves]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleets", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with_hbal = Path(HBAL).exists()
    against: dict[str, list[float]] = {"largest first": [], **({"hbal": []} if with_hbal else {})}
    seconds = 0.0
    for seed in range(arguments.fleets):
        at = situation(seed)
        before = time.process_time()
        made = plan(at)
        seconds = max(seconds, time.process_time() - before)
        moves = moves_of(made, at.fleet)
        largest = sorted(moves, key=lambda move: (-move.vm.memory_bytes, move.vm.uuid))
        against["largest first"].append(made.expected_loss / loss(largest, at))
        if with_hbal:
            against["hbal"].append(made.expected_loss / loss(hbals_moves(at.fleet), at))
    found: dict[str, Any] = {"fleets": arguments.fleets, "longest_plan_cpu_seconds": round(seconds, 2)}
    for peer, ratios in against.items():
        found[f"mean_ratio_to_{peer.replace(' ', '_')}"] = round(sum(ratios) / len(ratios), 3)
        found[f"worst_ratio_to_{peer.replace(' ', '_')}"] = round(max(ratios), 3)
    if not with_hbal:
        found["hbal"] = "not installed: ganeti-htools-3.0"
    if arguments.json:
        print(json.dumps(found))
        return
    for name, figure in found.items():
        print(f"  {name.replace('_', ' '):36} {figure}")


if __name__ == "__main__":
    main()
