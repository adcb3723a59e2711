"""One stream off a node or two, with guests that rewrite memory, on the lab's real libvirt; and how right the move model is.

    python -m bench.streams [--rounds 2] [--json]        (needs root)

Two guests leave node-a over a link shaped to 30 MB/s (tc, token bucket): one after the other, then both at once, in turns. Beside
each measured time stands what the model says of it for the rates the guests were given, and beside both ways what they would lose
were the node's failure as likely at any moment: the sum of both ends.

Guests run under emulation (TCG), and the lab's two nodes share this machine's processors.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.actions.attempt import AttemptContext
from agent.actions.resources import Resources
from agent.actions.runner import run_attempt
from agent.plan.timing.lane_clock import LaneClock
from bench.live_migration import BETWEEN, LAB, MIB, PROBES
from lab.lifecycle.down import down
from lab.lifecycle.up import up
from lab.nodes import guests, hypervisor
from lab.nodes.initramfs import BootImage, build
from lab.nodes.node import Lab
from lab.nodes.probe import ask
from models.fleet import Fleet, Vm
from models.plan import Action, ActionKind
from models.planning.schedule import Move
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.situation import Situation
from tools.clock import SystemClock
from tools.journal import open_journal
from tools.libvirt.migration.migration_job import Peer
from tools.libvirt.node import LibvirtNode

LINK = 30e6
"""bytes per second that each node's link is held to"""
PAIR = (
    replace(guests.guest("infer-1"), memory=384, dirty_rate=3, dirty_set=128),
    replace(guests.guest("infer-2"), memory=256, dirty_rate=1, dirty_set=64),
)


class Pair:
    """The lab, and two guests on its first node."""

    def __init__(self, lab: Lab, image: BootImage, directory: Path) -> None:
        self.lab, self.image = lab, image
        uris = {name: hypervisor.uri(lab, name, pkipath=False) for name in lab.nodes}
        self.nodes = {
            name: LibvirtNode(
                name, hypervisor.uri(lab, name), migration_uri=uris[name],
                peers={peer: Peer(uri) for peer, uri in uris.items() if peer != name},
                migration_bytes_per_second=LINK, memory_reserved_bytes=256 * MIB,
            )
            for name in BETWEEN
        }  # fmt: skip
        self.hands = Resources(nodes=self.nodes, clock=SystemClock(), journal=open_journal(directory), ask_guest=PROBES)
        for node in lab.nodes:
            for name, state in guests.where(lab, node).items():
                if state == "running":
                    hypervisor.virsh(lab, node, "destroy", name)
        for node in BETWEEN:
            _shape(lab, node)

    def start(self) -> None:
        """Both guests anew on the first node, once they answer and have filled what they rewrite."""
        for guest in PAIR:
            for node in BETWEEN:
                for command in ("destroy", "undefine"):
                    hypervisor.virsh(self.lab, node, command, guest.name, check=False)
            xml = self.lab.node(BETWEEN[0]).run_dir / f"{guest.name}.xml"
            xml.write_text(guests.domain_xml(self.lab, guest, self.image))
            hypervisor.virsh(self.lab, BETWEEN[0], f"define {xml}; start {guest.name}", timeout=180)
        for guest in PAIR:
            if ask(guests.probe_target(self.lab, guest), seconds=180) is None:
                raise SystemExit(f"{guest.name} does not answer")
        time.sleep(max(guest.dirty_set / max(guest.dirty_rate, 1) for guest in PAIR) + 2)

    def vms(self) -> list[Vm]:
        """Both, with the rates at which they were told to rewrite memory."""
        rates = {guest.name: guest.dirty_rate * MIB for guest in PAIR}
        found = {vm.name: vm for vm in self.nodes[BETWEEN[0]].vms()}
        return [found[guest.name].model_copy(update={"dirty_bytes_per_second": rates[guest.name]}) for guest in PAIR]

    def move(self, vm: Vm, began: float) -> float:
        """The end of its move, seconds after `began`."""
        action = Action(kind=ActionKind.LIVE_MIGRATE, vm=vm.uuid, vm_name=vm.name, source=BETWEEN[0], target=BETWEEN[1])
        ctx = AttemptContext(
            id=uuid.uuid4().hex, evacuation="bench", action=action, vm=vm, hands=self.hands, on_progress=lambda _: None,
            policy=Policy.model_validate({"migration": {"dirty_probe": "0s"}}),
        )  # fmt: skip
        ended = run_attempt(ctx)
        if ended.outcome != "done":
            raise SystemExit(f"{vm.name}: {ended.outcome}: {ended.message}")
        return time.monotonic() - began

    def ends(self, *, streams: int) -> list[float]:
        self.start()
        vms = self.vms()
        began = time.monotonic()
        with ThreadPoolExecutor(max_workers=streams) as pool:
            return [round(end, 2) for end in pool.map(self.move, vms, [began] * len(vms))]

    def estimated(self, *, streams: int) -> list[float]:
        nodes = [node.node() for node in self.nodes.values()]
        clock_now = SystemClock().now()
        fleet = Fleet(observed_at=clock_now, nodes=tuple(nodes), vms=tuple(self.vms()))
        risks = [Risk(node=BETWEEN[0], probability={"2h": 0.9}, data_age_seconds=1)]
        situation = Situation(fleet=fleet, risks=risks, policy=Policy(), now=clock_now)
        moves = [Move(vm=vm, kind=ActionKind.LIVE_MIGRATE, source=BETWEEN[0], target=BETWEEN[1]) for vm in fleet.vms]
        _, ends = LaneClock(moves=moves, situation=situation).run([[0, 1]] if streams == 1 else [[0], [1]])
        return [round(end, 2) for end in ends]


def _shape(lab: Lab, node: str) -> None:
    """Hold what leaves a node to LINK. Gone with the node's namespace."""
    inside = ["ip", "netns", "exec", lab.node(node).netns]
    links = subprocess.run([*inside, "ls", "/sys/class/net"], capture_output=True, text=True, check=True, timeout=30)
    for device in links.stdout.split():
        if device != "lo":
            rate = ["rate", f"{int(LINK * 8 / 1000)}kbit", "burst", "256kb", "latency", "50ms"]
            subprocess.run(
                [*inside, "tc", "qdisc", "replace", "dev", device, "root", "tbf", *rate], check=True, timeout=30
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    def say(line: str) -> None:
        if not given.json:
            print(line, flush=True)

    lab = up(LAB, say, bare=True)
    measured: dict[int, list[list[float]]] = {1: [], 2: []}
    estimated: dict[int, list[float]] = {}
    try:
        with tempfile.TemporaryDirectory() as directory:
            pair = Pair(lab, build(lab.root / "guest"), Path(directory))
            for number in range(given.rounds):
                for streams in (1, 2) if number % 2 == 0 else (2, 1):
                    measured[streams].append(pair.ends(streams=streams))
                    say(f"  {streams} at once: ends {measured[streams][-1]} s")
                if not estimated:
                    pair.start()
                    estimated = {streams: pair.estimated(streams=streams) for streams in (1, 2)}
    finally:
        down(LAB)
    found = {f"{streams} at once": _told(measured[streams], estimated[streams]) for streams in (1, 2)}
    print(json.dumps(found, indent=2))


def _told(measured: Sequence[Sequence[float]], estimated: Sequence[float]) -> dict[str, Any]:
    ends = [round(statistics.median(one[n] for one in measured), 2) for n in range(len(estimated))]
    return {
        "ends, seconds": ends,
        "estimated": list(estimated),
        "total estimated / measured": round(max(estimated) / max(ends), 3),
        "sum of ends": round(sum(ends), 2),
        "sum of ends estimated": round(sum(estimated), 2),
    }


if __name__ == "__main__":
    main()
