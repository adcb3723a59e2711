"""Tight fleets: how many guests of a failing node find a place, beside CP-SAT given a minute. Fleets are generated.

    python -m bench.plan_tight [--fleets 50] [--first 0] [--seconds 60] [--json]

One node of eight to twelve is about to fail; every other is at least 90 % full. All guests weigh the same, so that the least
loss is the most guests. Two models of CP-SAT, which know nothing of the planner and look at the end only, not at the way:

placement: residents stay; the most guests of the failing node that fit.
swaps:     residents may move live as well, as many as policy lets make room.

The planner's figure is what its own plan carries out, passed by the guard and by the independent checker of every state on the
way (`tests/scenes/independent_checker.py`).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from agent.guard.judge import judge
from agent.plan.solver import plan
from bench.plan import GIB, NOW
from models.fleet import Fleet, Node, Vm
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.situation import Situation

POLICY = Policy()
SIZES = (1, 2, 3, 4, 6, 8, 12, 16)


def tight(seed: int) -> Situation:
    """Every target between 90 % of what vms may use and the last GiB above its headroom; a tenth of the guests in groups."""
    chance = random.Random(seed)
    count = chance.randint(8, 12)
    nodes = tuple(
        Node(
            name=f"node-{i:02}", memory_bytes=128 * GIB, memory_reserved_bytes=8 * GIB, cpus=48, cpu_overcommit=2.0,
            migration_bytes_per_second=1.25e9,
        )
        for i in range(count)
    )  # fmt: skip
    vms: list[Vm] = []
    for node in nodes:
        held, goal = 0, 114 if node is nodes[0] else chance.randint(108, 114)
        while held < goal:
            size = chance.choice([one for one in SIZES if one <= goal - held])
            held += size
            vms.append(
                Vm(
                    uuid=f"vm-{len(vms):03}", name=f"vm-{len(vms):03}", node=node.name, memory_bytes=size * GIB,
                    vcpus=chance.choice((1, 2, 4)), dirty_bytes_per_second=1e6,
                    anti_affinity_group=f"g{chance.randrange(12)}" if chance.random() < 0.1 else None,
                )
            )  # fmt: skip
    risks = [Risk(node=nodes[0].name, probability={"30m": 0.3, "2h": 0.9}, data_age_seconds=1)]
    risks += [Risk(node=node.name, probability={"2h": 0.001}, data_age_seconds=1) for node in nodes[1:]]
    fleet = Fleet(observed_at=NOW, nodes=nodes, vms=tuple(vms))
    return Situation(fleet=fleet, risks=risks, policy=POLICY, now=NOW)


def fullness(at: Situation) -> float:
    """Of the emptiest target, as a share of what vms may use."""
    held = {node.name: sum(vm.memory_bytes for vm in at.fleet.vms_on(node.name)) for node in at.fleet.nodes[1:]}
    return min(held[node.name] / node.vm_memory_bytes for node in at.fleet.nodes[1:])


def by_cp_sat(at: Situation, seconds: float, *, swaps: bool) -> tuple[int, int, bool]:
    """The most guests of the first node that find a place, the bound on that, and whether it is proven."""
    from ortools.sat.python import cp_model

    fleet, policy = at.fleet, at.policy
    targets = fleet.nodes[1:]
    model = cp_model.CpModel()
    on: dict[tuple[str, str], Any] = {}
    placed: list[Any] = []
    moved: list[Any] = []
    for vm in fleet.vms:
        if vm.node == fleet.nodes[0].name:
            mine = [on.setdefault((vm.uuid, node.name), model.new_bool_var("")) for node in targets]
            model.add_at_most_one(mine)
            placed += mine
        elif swaps:
            mine = [on.setdefault((vm.uuid, node.name), model.new_bool_var("")) for node in targets]
            model.add_exactly_one(mine)
            moved.append(1 - on[vm.uuid, vm.node])
            model.add_hint(on[vm.uuid, vm.node], True)
        else:
            on[vm.uuid, vm.node] = 1
    for node in targets:
        here = [(vm, on[vm.uuid, node.name]) for vm in fleet.vms if (vm.uuid, node.name) in on]
        room = int(node.vm_memory_bytes * (1 - policy.target.memory_headroom)) // (1 << 20)
        model.add(sum((vm.memory_bytes >> 20) * v for vm, v in here) <= room)
        model.add(sum(vm.vcpus * v for vm, v in here) <= int(node.vcpu_capacity))
        for group in {vm.anti_affinity_group for vm, _ in here if vm.anti_affinity_group}:
            members = [(vm, v) for vm, v in here if vm.anti_affinity_group == group]
            already = sum(vm.node == node.name for vm, _ in members)
            model.add(sum(v for _, v in members) <= max(1, already))
            if already > 1:  # what stands there together may stay, and nobody joins it
                model.add(sum(v for vm, v in members if vm.node != node.name) == 0)
    if swaps:
        model.add(sum(moved) <= policy.make_room.max_moves)
    model.maximize(sum(placed))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return 0, len(fleet.vms_on(fleet.nodes[0].name)), False
    found = round(sum(solver.value(v) for v in placed))
    return found, round(solver.best_objective_bound), status == cp_model.OPTIMAL


def one(seed: int, seconds: float) -> dict[str, Any]:
    broken_on_the_way = import_module("scenes.independent_checker").broken_on_the_way
    at = tight(seed)
    before = time.process_time()
    made = plan(at)
    took = time.process_time() - before
    first = at.fleet.nodes[0].name
    ours = [action for action in made.moves if action.source == first]
    placement, _, _ = by_cp_sat(at, seconds, swaps=False)
    swaps, bound, proven = by_cp_sat(at, seconds, swaps=True)
    return {
        "seed": seed,
        "guests": len(at.fleet.vms_on(first)),
        "fullness": round(fullness(at), 3),
        "placed": len(ours),
        "made_room": len(made.moves) - len(ours),
        "cp_sat_placement": placement,
        "cp_sat_swaps": swaps,
        "cp_sat_swaps_bound": bound,
        "cp_sat_proven": proven,
        "guard_passed": judge(made, at).passed,
        "broken_on_the_way": len(broken_on_the_way(made, at.fleet, at.policy)),
        "plan_cpu_seconds": round(took, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleets", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="seed of the first fleet")
    parser.add_argument("--seconds", type=float, default=60.0, help="CP-SAT's for each of its models")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    rows = [one(seed, arguments.seconds) for seed in range(arguments.first, arguments.first + arguments.fleets)]
    more = [row for row in rows if row["cp_sat_swaps"] > row["cp_sat_placement"]]
    found: dict[str, Any] = {
        "fleets": len(rows),
        "emptiest_target": min(row["fullness"] for row in rows),
        "guests": sum(row["guests"] for row in rows),
        "placed": sum(row["placed"] for row in rows),
        "by_cp_sat_placement": sum(row["cp_sat_placement"] for row in rows),
        "by_cp_sat_swaps": sum(row["cp_sat_swaps"] for row in rows),
        "fleets_at_least_placement": sum(row["placed"] >= row["cp_sat_placement"] for row in rows),
        "fleets_at_least_swaps": sum(row["placed"] >= row["cp_sat_swaps"] for row in rows),
        "fleets_where_swaps_help": len(more),
        "swaps_found_there": sum(row["placed"] > row["cp_sat_placement"] for row in more),
        "cp_sat_swaps_proven": sum(row["cp_sat_proven"] for row in rows),
        "guard_refused": sum(not row["guard_passed"] for row in rows),
        "broken_on_the_way": sum(row["broken_on_the_way"] for row in rows),
        "longest_plan_cpu_seconds": max(row["plan_cpu_seconds"] for row in rows),
    }
    if arguments.json:
        print(json.dumps({**found, "rows": rows}))
        return
    for name, figure in found.items():
        print(f"  {name.replace('_', ' '):36} {figure}")


if __name__ == "__main__":
    main()
