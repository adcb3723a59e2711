"""`lifeboat …` on a simulated fleet in the same process: everything else about it is the real thing. SIMULATED nodes.

    .venv/bin/python -m bench.simulated_agent GUESTS run --config lifeboat.yaml

The nodes are those of the settings file, with GUESTS guests each.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence

from models.fleet import Priority
from tools.domain.labels import Labels
from tools.ports.clock import Clock
from tools.simulated.fleet import SimulatedFleet

GIB = 1 << 30


def populated(nodes: Sequence[str], guests: int, clock: Clock, *, racks: int = 20) -> SimulatedFleet:
    """A fleet half full: so many guests a node, every other on shared storage, some of which may be archived."""
    fleet = SimulatedFleet(clock)
    high, low = Labels(priority=Priority.HIGH), Labels(priority=Priority.LOW, cold_archive_allowed=True)
    for number, name in enumerate(nodes):
        node = fleet.add_node(name, memory_bytes=64 * GIB)
        machine = fleet.machines[name]
        machine.node = node.node().model_copy(update={"failure_domain": f"rack-{number % racks}"})
        for k in range(guests):
            shared = k % 2 == 0
            fleet.add_vm(
                name, f"vm-{name}-{k}", memory_bytes=(2 + 2 * (k % 3)) * GIB, disk_bytes=() if shared else (GIB,),
                labels=(high, None, low)[(number + k) % 3], shared=shared, dirty_bytes_per_second=2e6 * k,
            )  # fmt: skip
    return fleet


def put_in_place(fleet: SimulatedFleet) -> None:
    """From now on the nodes that this process connects to are this fleet's."""
    hypervisors = types.ModuleType("tools.libvirt.fleet")
    hypervisors.connect_nodes = lambda *_, **__: fleet.hypervisors()  # type: ignore[attr-defined]
    sys.modules["tools.libvirt.fleet"] = hypervisors


def main_on(guests: int, arguments: Sequence[str]) -> None:
    """`lifeboat` with these arguments, on the fleet that its settings name."""
    from pathlib import Path

    import yaml

    from agent.cli.main import main
    from tools.clock import SystemClock

    settings = yaml.safe_load(Path(arguments[arguments.index("--config") + 1]).read_text())
    put_in_place(populated([node["name"] for node in settings["nodes"]], guests, SystemClock()))
    sys.argv = ["lifeboat", *arguments]
    main()


if __name__ == "__main__":
    main_on(int(sys.argv[1]), sys.argv[2:])
