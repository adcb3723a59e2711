"""Live migration by lifeboat beside `virsh migrate`, on the lab's real libvirt nodes, in one run. Needs root.

    python -m bench.live_migration [--rounds 6] [--virsh 2] [--refused 20] [--post-copy 1] [--steered 1] [--json]

1. overhead: a guest that converges, moved to and fro in turns by `virsh migrate` and by a lifeboat attempt (checks, journal,
   move, observation; not the start of the process), with the same flags. Ratios of the medians of time and downtime.
2. storm: a guest that rewrites 25 MiB/s, over a stream held to 8 MiB/s: `virsh migrate --timeout 15`, which suspends it, beside
   lifeboat with its default policy, with the dirty-rate probe left out so that the ladder has to deal with it, and with
   post-copy allowed. For each: how it ended, and how long the guest stood still.

Guests run under emulation (TCG): on KVM they dirty memory faster, and are slowed better.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from agent.actions.attempt import AttemptContext
from agent.actions.resources import Resources
from agent.actions.runner import run_attempt
from lab.lifecycle.down import down
from lab.lifecycle.up import up
from lab.nodes import guests, hypervisor
from lab.nodes.initramfs import BootImage, build
from lab.nodes.node import Lab
from lab.nodes.probe import Probe, ask
from models.evacuation import Attempt, AttemptOutcome
from models.fleet import VmState
from models.plan import Action, ActionKind
from models.policy.policy import Policy
from tools.clock import SystemClock
from tools.guest_probe import guest_asker
from tools.journal import open_journal
from tools.libvirt.migration.migration_job import Peer
from tools.libvirt.node import LibvirtNode

LAB = "bench"
MIB = 1 << 20
BETWEEN = ("node-a", "node-b")
CALM = replace(guests.guest("infer-1"), memory=512, dirty_rate=6, dirty_set=256)
STORM = replace(guests.guest("infer-1"), memory=256, dirty_rate=25, dirty_set=64)
STORM_LINK = 8 * MIB
PROBES = guest_asker((ip_network("10.77.0.0/16"),))


@dataclass(frozen=True)
class Move:
    """One move, or one try."""

    by: str
    outcome: str
    seconds: float
    downtime: float | None
    """as libvirt measured it; None when the guest did not move, or libvirt has no figure"""
    blackout: float | None
    """longest silence of the guest to a probe every 10 ms; None when it did not move"""
    why: str = ""


class Bench:
    """The lab, one guest in it, and the two who move it."""

    def __init__(self, lab: Lab, image: BootImage, directory: Path) -> None:
        self.lab, self.image = lab, image
        uris = {name: hypervisor.uri(lab, name, pkipath=False) for name in lab.nodes}
        self.nodes = {
            name: LibvirtNode(
                name, hypervisor.uri(lab, name), migration_uri=uris[name],
                peers={peer: Peer(uri) for peer, uri in uris.items() if peer != name},
                migration_bytes_per_second=45e6, memory_reserved_bytes=512 * MIB,
            )
            for name in BETWEEN
        }  # fmt: skip
        self.hands = Resources(nodes=self.nodes, clock=SystemClock(), journal=open_journal(directory), ask_guest=PROBES)
        self.guest = CALM
        for node in lab.nodes:
            for name, state in guests.where(lab, node).items():
                if state == "running":
                    hypervisor.virsh(lab, node, "destroy", name)

    def start(self, guest: guests.Guest) -> None:
        """The guest anew, on the first node, once it answers and has filled its working set."""
        self.guest = guest
        for node in BETWEEN:
            for command in ("destroy", "undefine"):
                hypervisor.virsh(self.lab, node, command, guest.name, check=False)
        xml = self.lab.node(BETWEEN[0]).run_dir / "bench.xml"
        xml.write_text(guests.domain_xml(self.lab, guest, self.image))
        hypervisor.virsh(self.lab, BETWEEN[0], f"define {xml}; start {guest.name}", timeout=120)
        if ask(guests.probe_target(self.lab, guest), seconds=120) is None:
            raise SystemExit(f"{guest.name} does not answer")
        time.sleep(guest.dirty_set / max(guest.dirty_rate, 1) + 2)

    @property
    def uuid(self) -> str:
        return str(guests.guest_uuid(self.lab, self.guest))

    def where(self) -> tuple[str, str]:
        """The node it is on, and the other one."""
        here = next(name for name in BETWEEN if self.nodes[name].observe(self.uuid) is not None)
        return here, next(name for name in BETWEEN if name != here)

    def by_virsh(self, by: str, *options: str) -> Move:
        source, target = self.where()
        command = [
            "virsh", "--quiet", "--connect", hypervisor.uri(self.lab, source), "migrate", "--live", "--p2p", "--tls",
            "--persistent", "--undefinesource", "--abort-on-error", "--auto-converge", *options, self.guest.name,
            hypervisor.uri(self.lab, target, pkipath=False), f"tcp://{self.lab.node(target).address}",
        ]  # fmt: skip

        def run() -> tuple[str, str]:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            return ("done" if done.returncode == 0 else "failed"), done.stderr.strip()

        return self._timed(by, target, run)

    def by_lifeboat(self, by: str, **migration: Any) -> Move:
        source, target = self.where()
        policy = Policy.model_validate({"migration": migration})
        vm = next(vm for vm in self.nodes[source].vms() if vm.uuid == self.uuid)
        action = Action(kind=ActionKind.LIVE_MIGRATE, vm=vm.uuid, vm_name=vm.name, source=source, target=target)
        ended: list[Attempt] = []

        def run() -> tuple[str, str]:
            ctx = AttemptContext(
                id=uuid.uuid4().hex,
                evacuation="bench",
                action=action,
                vm=vm,
                policy=policy,
                hands=self.hands,
                on_progress=lambda _: None,
            )
            ended.append(run_attempt(ctx))
            return str(ended[0].outcome), ended[0].message

        move = self._timed(by, target, run)
        seen = self.nodes[target if move.outcome == AttemptOutcome.DONE else source].observe(self.uuid)
        if seen is None or seen.state is not VmState.RUNNING:
            raise SystemExit(f"{by}: the guest is not where the attempt says: {move.why}")
        return move

    def _timed(self, by: str, target: str, run: Callable[[], tuple[str, str]]) -> Move:
        with Probe(guests.probe_target(self.lab, self.guest)) as probe:
            started = time.monotonic()
            outcome, why = run()
            seconds = time.monotonic() - started
            probe.wait_answer(30)
        figures = self.nodes[target].completed_job(self.uuid) if outcome == "done" else None
        return Move(
            by,
            outcome,
            round(seconds, 3),
            figures.downtime_seconds if figures else None,
            round(probe.result().blackout_seconds, 3) if outcome == "done" else None,
            why,
        )


def overhead(bench: Bench, rounds: int, tell: Callable[[Move], None]) -> dict[str, Any]:
    """The guest that converges. The two take turns, and so do who begins and the direction."""
    bench.start(CALM)
    moves: list[Move] = []
    for number in range(rounds):
        turns = [lambda: bench.by_virsh("virsh"), lambda: bench.by_lifeboat("lifeboat")]
        for turn in turns if number % 2 == 0 else reversed(turns):
            moves.append(turn())
            tell(moves[-1])
    found: dict[str, Any] = {"moves": [asdict(move) for move in moves]}
    for what in ("seconds", "downtime", "blackout"):
        medians = {
            by: statistics.median(getattr(m, what) for m in moves if m.by == by and getattr(m, what) is not None)
            for by in ("virsh", "lifeboat")
        }
        found[what] = medians | {"ratio": round(medians["lifeboat"] / medians["virsh"], 3)}
    return found


def storm(
    bench: Bench, *, virsh: int, refused: int, post_copy: int, steered: int, tell: Callable[[Move], None]
) -> dict[str, Any]:
    """The guest that does not."""
    bench.start(STORM)
    link = {"bandwidth_bytes_per_second": STORM_LINK}
    plans: list[tuple[int, Callable[[], Move]]] = [
        (virsh, lambda: bench.by_virsh("virsh --timeout 15", "--timeout", "15", "--bandwidth", str(STORM_LINK // MIB))),
        (refused, lambda: bench.by_lifeboat("lifeboat", **link)),
        (post_copy, lambda: bench.by_lifeboat("lifeboat, post-copy allowed", **link, dirty_probe="0s", post_copy=True)),
        (steered, lambda: bench.by_lifeboat("lifeboat, no probe", **link, dirty_probe="0s")),
    ]
    moves: list[Move] = []
    for times, move in plans:
        for _ in range(times):
            moves.append(move())
            tell(moves[-1])
    # Post-copy is not held to the cap: policy has to ask for it, and the guest then waits for each page it touches.
    ours = [m for m in moves if m.by in ("lifeboat", "lifeboat, no probe")]
    plain = [m.downtime for m in moves if m.by.startswith("virsh") and m.downtime is not None]
    cap = Policy().migration.last_downtime.total_seconds()
    kept = [m for m in ours if m.outcome != "done" or (m.downtime is not None and m.downtime <= cap)]
    return {
        "moves": [asdict(move) for move in moves],
        "within cap, refused or as found": f"{len(kept)} of {len(ours)}",
        "longest downtime of lifeboat": max((m.downtime for m in ours if m.downtime is not None), default=None),
        "longest downtime of virsh": max(plain, default=None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6, help="moves by each of the two, of the guest that converges")
    parser.add_argument("--refused", type=int, default=20, help="runs of the storm with the default policy")
    parser.add_argument("--post-copy", type=int, default=1, help="runs of the storm with post-copy allowed")
    parser.add_argument("--steered", type=int, default=1, help="runs of the storm without the probe: minutes each")
    parser.add_argument("--virsh", type=int, default=2, help="runs of the storm by virsh")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    def say(line: str) -> None:
        if not given.json:
            print(line, flush=True)

    def tell(move: Move) -> None:
        stood = f", stood still {move.downtime * 1000:.0f} ms" if move.downtime is not None else ""
        silent = f", silent {move.blackout * 1000:.0f} ms" if move.blackout is not None else ""
        say(
            f"  {move.by}: {move.outcome} in {move.seconds:.2f} s{stood}{silent}{f'  ({move.why})' if move.why else ''}"
        )

    lab = up(LAB, say, bare=True)
    try:
        with tempfile.TemporaryDirectory() as directory:
            bench = Bench(lab, build(lab.root / "guest"), Path(directory))
            found: dict[str, Any] = {}
            if given.rounds:
                say("overhead: 512 MiB, rewrites 6 MiB/s")
                found["overhead"] = overhead(bench, given.rounds, tell)
                for what in ("seconds", "downtime", "blackout"):
                    say(f"  {what}: {found['overhead'][what]}")
            if given.virsh or given.refused or given.post_copy or given.steered:
                say("storm: rewrites 25 MiB/s, over 8 MiB/s")
                found["storm"] = storm(
                    bench,
                    virsh=given.virsh,
                    refused=given.refused,
                    post_copy=given.post_copy,
                    steered=given.steered,
                    tell=tell,
                )
                say("  " + json.dumps({k: v for k, v in found["storm"].items() if k != "moves"}))
            if given.json:
                print(json.dumps(found, indent=2))
    finally:
        down(LAB)


if __name__ == "__main__":
    main()
