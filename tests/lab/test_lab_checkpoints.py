"""Checkpoints of backups on real libvirt: after a live move they are there and hold, or the result says that they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.actions.attempt import AttemptContext
from agent.actions.resources import Resources
from agent.actions.runner import run_attempt
from agent.settings import Settings
from lab.nodes import hypervisor
from lab.nodes.node import Lab
from models.evacuation import AttemptOutcome
from models.plan import Action, ActionKind
from models.policy.policy import Policy
from tools.clock import SystemClock
from tools.journal.sqlite import SqliteJournal
from tools.libvirt.fleet import connect_nodes

pytestmark = pytest.mark.lab

GUEST = "infer-3"


def test_no_checkpoint_is_lost_in_silence_by_a_live_move(lab: Lab, tmp_path: Path) -> None:
    nodes = connect_nodes(Settings.load(lab.root / "lifeboat.yaml"))
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    hands = Resources(nodes=dict(nodes), clock=SystemClock(), journal=journal)
    hypervisor.virsh(lab, "node-a", f"checkpoint-create-as {GUEST} monday --diskspec vda,checkpoint=bitmap")
    here, there = "node-a", "node-b"
    try:
        for number in (1, 2):  # and back
            vm = next(vm for vm in nodes[here].vms() if vm.name == GUEST)
            seen = nodes[here].observe(vm.uuid)
            assert seen is not None
            disk = seen.disks[0].path
            action = Action(
                kind=ActionKind.LIVE_MIGRATE, vm=vm.uuid, vm_name=GUEST, source=here, target=there, reason="a test"
            )
            attempt = run_attempt(
                AttemptContext(
                    id=f"attempt-{number}", evacuation="evac", action=action, vm=vm, policy=Policy(), hands=hands,
                    on_progress=lambda _: None,
                )
            )  # fmt: skip
            assert attempt.outcome is AttemptOutcome.DONE, attempt.message
            if number == 1:
                known = hypervisor.virsh(lab, there, f"checkpoint-list {GUEST} --name").split()
                said = "its next backup is a full one" in attempt.message
                assert (known, said) in ((["monday"], False), ([], True)), "QEMU finds the bitmap there, or it is said"
            nodes[here].delete_disk(disk)  # a move keeps the old one, where the next has to write
            here, there = there, here
    finally:
        hypervisor.virsh(lab, here, f"checkpoint-delete {GUEST} monday", check=False)
        journal.close()
        for node in nodes.values():
            node.close()
