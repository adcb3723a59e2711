"""The planner beside simpler ones in the same run: how much is lost, and how long planning takes. Fleets are generated.

    python -m bench.plan [--fleets 12] [--nodes 200 --vms 4000 --failing 5] [--json]

1. size: nodes, vms, nodes failing as asked: processor time of plan and guard, beside greedy placement.
2. room: small fleets whose targets are nearly full: expected loss with CP-SAT, beside greedy placement.
3. order: six moves off two nodes: expected loss of the order chosen, beside every order there is, and beside one at a time.
4. gap: about 60 moves off 3 nodes and 500 off 25, above what no plan can better.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agent.guard.judge import judge
from agent.plan.solver import plan
from agent.plan.timing.waves import GROWTH_SHARES, best_waves, pack, schedule
from models.fleet import Fleet, Node, Priority, Vm, VmState
from models.plan import ActionKind, Plan
from models.planning.schedule import Move, Timing
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.situation import Situation

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
GIB = 1 << 30
POLICY = Policy()


def risks_of(nodes: tuple[Node, ...], failing: int) -> list[Risk]:
    """The first nodes are about to fail, the others are sound."""
    curves = [{"30m": 0.3, "2h": 0.8, "24h": 0.95}] * failing + [{"30m": 0.001, "2h": 0.005, "24h": 0.03}] * len(nodes)
    return [Risk(node=n.name, probability=p, data_age_seconds=5) for n, p in zip(nodes, curves, strict=False)]


def large_fleet(seed: int, *, nodes: int = 200, vms: int = 4000) -> Fleet:
    """A mixed fleet at about 60 % of its memory: two CPU models, ten racks, every kind of vm."""
    chance = random.Random(seed)
    made = tuple(
        Node(
            name=f"node-{i:03}", memory_bytes=512 * GIB, memory_reserved_bytes=8 * GIB, cpus=64, cpu_overcommit=4.0,
            cpu_model=chance.choice(["Skylake-Server", "Icelake-Server"]), failure_domain=f"rack-{i // 20}",
            migration_bytes_per_second=1.25e9,
        )
        for i in range(nodes)
    )  # fmt: skip
    states = [VmState.RUNNING] * 13 + [VmState.PAUSED, VmState.SHUTOFF]
    return Fleet(
        observed_at=NOW,
        nodes=made,
        vms=tuple(
            Vm(
                uuid=f"vm-{j:05}", name=f"vm-{j:05}", node=made[j % nodes].name,
                memory_bytes=chance.choice([2, 4, 8, 16, 32]) * GIB, vcpus=chance.choice([1, 2, 4, 8]),
                priority=chance.choice(list(Priority)), state=chance.choice(states),
                dirty_bytes_per_second=chance.choice([None, 1e6, 2e7, 1e8, 6e8]),
                disk_bytes=chance.choice([10, 20, 100]) * 10**9, shared_storage=chance.random() < 0.8,
                anti_affinity_group=chance.choice([None] * 6 + [f"group-{chance.randrange(40)}"]),
                migratable=chance.random() < 0.95, cold_archive_allowed=chance.choice([None, True, False]),
            )
            for j in range(vms)
        ),
    )  # fmt: skip


def tight_fleet(seed: int, *, nodes: int = 8) -> Fleet:
    """Every node but the failing one is about 87 % full, with vms of 2 to 24 GiB."""
    chance = random.Random(seed)
    made = tuple(
        Node(
            name=f"node-{i}", memory_bytes=128 * GIB, memory_reserved_bytes=8 * GIB, cpus=64, cpu_overcommit=4.0,
            failure_domain=f"rack-{i % 3}", migration_bytes_per_second=1.25e9,
        )
        for i in range(nodes)
    )  # fmt: skip
    vms: list[Vm] = []
    for i, node in enumerate(made):
        room = (118 if i == 0 else 104) * GIB
        while (size := chance.choice([2, 4, 6, 8, 12, 16, 24]) * GIB) <= room:
            room -= size
            vms.append(
                Vm(
                    uuid=f"vm-{len(vms):03}", name=f"vm-{len(vms):03}", node=node.name, memory_bytes=size, vcpus=2,
                    priority=chance.choice(list(Priority)), dirty_bytes_per_second=1e7, disk_bytes=10**10,
                )
            )  # fmt: skip
    return Fleet(observed_at=NOW, nodes=made, vms=tuple(vms))


def timed_plan(fleet: Fleet, failing: int, *, optimise: bool) -> tuple[Plan, float]:
    """The plan and the processor seconds it took."""
    risks = risks_of(fleet.nodes, failing)
    before = time.process_time()
    made = plan(Situation(fleet=fleet, risks=risks, policy=POLICY, now=NOW), optimise=optimise)
    return made, time.process_time() - before


def size(seed: int, *, nodes: int, vms: int, failing: int) -> dict[str, Any]:
    fleet = large_fleet(seed, nodes=nodes, vms=vms)
    by_greedy, greedy_seconds = timed_plan(fleet, failing, optimise=False)
    made, seconds = timed_plan(fleet, failing, optimise=True)
    before = time.process_time()
    verdict = judge(made, Situation(fleet=fleet, risks=risks_of(fleet.nodes, failing), policy=POLICY, now=NOW))
    return {
        "nodes": nodes,
        "vms": vms,
        "vms_evacuated": len(made.actions),
        "plan_cpu_seconds": round(seconds, 2),
        "greedy_cpu_seconds": round(greedy_seconds, 2),
        "guard_cpu_seconds": round(time.process_time() - before, 2),
        "guard_passed": verdict.passed,
        "loss": round(made.expected_loss, 2),
        "greedy_loss": round(by_greedy.expected_loss, 2),
        "bound": made.bound,
        "gap": made.gap,
        "loss_if_nothing_is_done": round(made.expected_loss_if_nothing_is_done, 2),
    }


def room(fleets: int) -> dict[str, Any]:
    loss = greedy_loss = nothing = longest = 0.0
    for seed in range(fleets):
        fleet = tight_fleet(seed)
        made, seconds = timed_plan(fleet, 1, optimise=True)
        by_greedy, _ = timed_plan(fleet, 1, optimise=False)
        loss, greedy_loss = loss + made.expected_loss, greedy_loss + by_greedy.expected_loss
        nothing, longest = nothing + made.expected_loss_if_nothing_is_done, max(longest, seconds)
    return {
        "fleets": fleets,
        "loss": round(loss, 2),
        "greedy_loss": round(greedy_loss, 2),
        "ratio_to_greedy": round(loss / greedy_loss, 3),
        "loss_if_nothing_is_done": round(nothing, 2),
        "longest_plan_cpu_seconds": round(longest, 2),
    }


def order(fleets: int) -> dict[str, Any]:
    ratios: list[float] = []
    serial: list[float] = []
    risks = {
        "node-0": Risk(node="node-0", probability={"30m": 0.5, "2h": 0.8}, data_age_seconds=1),
        "node-1": Risk(node="node-1", probability={"30m": 0.2, "2h": 0.6}, data_age_seconds=1),
    }
    for seed in range(fleets):
        chance = random.Random(seed)
        nodes = tuple(Node(name=f"node-{i}", memory_bytes=512 * GIB, cpus=64, cpu_overcommit=4.0) for i in range(8))
        vms = tuple(
            Vm(
                uuid=f"vm-{j}", name=f"vm-{j}", node=chance.choice(["node-0", "node-1"]),
                memory_bytes=chance.choice([1, 2, 4, 8, 16, 32]) * GIB, priority=chance.choice(list(Priority)),
                dirty_bytes_per_second=1e6, shared_storage=chance.random() < 0.8, disk_bytes=20 * 10**9,
            )
            for j in range(6)
        )  # fmt: skip
        fleet = Fleet(observed_at=NOW, nodes=nodes, vms=vms)
        moves = [
            Move(vm=vm, kind=ActionKind.COLD_ARCHIVE, source=vm.node, target=None)
            if vm.priority is Priority.LOW and chance.random() < 0.5
            else Move(vm=vm, kind=ActionKind.LIVE_MIGRATE, source=vm.node, target=f"node-{2 + j}")
            for j, vm in enumerate(vms)
        ]

        def loss(timings: Mapping[str, Timing], moves: list[Move] = moves) -> float:
            return sum(
                POLICY.weights.of(m.vm.priority) * risks[m.source].within(timings[m.vm.uuid].done) for m in moves
            )

        danger = {name: risk.within(7200) for name, risk in risks.items()}
        ours = loss(schedule(best_waves(moves, fleet, POLICY, danger, loss), fleet, POLICY))
        orders = list(itertools.permutations(moves))
        best = min(loss(schedule(pack(o, fleet, POLICY, s), fleet, POLICY)) for o in orders for s in GROWTH_SHARES)
        ratios.append(ours / best)
        serial.append(min(loss(schedule([[m] for m in o], fleet, POLICY)) for o in orders) / best)
    return {
        "cases": fleets,
        "mean_ratio_to_best_of_every_order": round(sum(ratios) / fleets, 4),
        "worst_ratio_to_best_of_every_order": round(max(ratios), 4),
        "best_one_at_a_time_ratio": round(sum(serial) / fleets, 4),
    }


def gaps() -> dict[str, Any]:
    """How far plans for about 60 and 500 moves are above what no plan can better, and what they take."""
    found: dict[str, Any] = {}
    for failing, seeds in ((3, range(1, 7)), (25, range(1, 3))):
        told: list[tuple[float, float, int]] = []
        for seed in seeds:
            made, seconds = timed_plan(large_fleet(seed), failing, optimise=True)
            told.append((made.gap or 0.0, seconds, len(made.moves)))
        found[f"{failing} of 200 nodes failing"] = {
            "moves": [moves for _, _, moves in told],
            "gap": [round(gap, 3) for gap, _, _ in told],
            "longest_plan_cpu_seconds": round(max(seconds for _, seconds, _ in told), 2),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleets", type=int, default=12)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--vms", type=int, default=4000)
    parser.add_argument("--failing", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sized = size(1, nodes=arguments.nodes, vms=arguments.vms, failing=arguments.failing)
    found = {"size": sized, "room": room(arguments.fleets), "order": order(arguments.fleets), "gap": gaps()}
    if arguments.json:
        print(json.dumps(found))
        return
    for part, figures in found.items():
        print(part)
        for name, figure in figures.items():
            print(f"  {name.replace('_', ' '):36} {figure}")


if __name__ == "__main__":
    main()
