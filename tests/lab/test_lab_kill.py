"""`lifeboat apply` killed with SIGKILL while libvirt is moving a real guest, and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.documents import write_value
from agent.service.session import connect
from agent.settings import Settings
from lab.nodes import guests, probe
from lab.nodes.guests import guest
from lab.nodes.node import Lab, wait_until
from models.plan import Action, ActionKind, Plan
from tools.clock import SystemClock

pytestmark = pytest.mark.lab
NAME = "infer-2"
_SLOW = "migration: {bandwidth_bytes_per_second: 12000000}\n"


def _write_plan(lab: Lab, path: Path, source: str, target: str) -> None:
    """One move off a node that a person named, made for the fleet as it is now; that node's other vms stay."""
    uuid = str(guests.guest_uuid(lab, guest(NAME)))
    action = Action(kind=ActionKind.LIVE_MIGRATE, vm=uuid, vm_name=NAME, source=source, target=target)
    with connect(Settings.load(lab.config_path)) as session:
        fleet, _ = session.look()
    stays = [
        Action(kind=ActionKind.STAY, vm=vm.uuid, vm_name=vm.name, source=source)
        for vm in fleet.vms_on(source)
        if vm.uuid != uuid
    ]
    plan = Plan(
        created_at=SystemClock().now(),
        fleet_sha256=fleet.digest(),
        evacuating=(source,),
        asked=(source,),
        actions=(action, *stays),
    )
    write_value(path, plan)


def _apply(lab: Lab, plan: Path, policy: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-c", "from agent.cli.main import main; main()", "apply", str(plan),
        "--config", str(lab.config_path), "--policy", str(policy), "--approve-as", "test",
    ]  # fmt: skip
    return subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_move_goes_on_without_lifeboat_and_is_finished_by_the_next_one(lab: Lab, tmp_path: Path) -> None:
    plan, policy = tmp_path / "plan.json", tmp_path / "policy.yaml"
    policy.write_text(_SLOW)
    _write_plan(lab, plan, "node-a", "node-c")
    uuid = str(guests.guest_uuid(lab, guest(NAME)))
    with probe.Probe(guests.probe_target(lab, guest(NAME))) as watch:
        watch.wait_answer(30)
        with _apply(lab, plan, policy) as process, connect(Settings.load(lab.config_path)) as session:
            source = session.hands.node("node-a")
            wait_until(
                lambda: (job := source.job(uuid)) is not None and job.bytes_processed > 0,
                seconds=60,
                what="a running job",
            )
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        with _apply(lab, plan, policy) as again:
            said = again.communicate(timeout=120)[0]
        watch.wait_answer(30)
    assert again.returncode == 1, said
    assert "partial" in said, "the plan leaves vms of high priority where they are, and says so"
    assert "not carried out again" in said
    with connect(Settings.load(lab.config_path)) as session:
        assert session.hands.node("node-a").observe(uuid) is None
        arrived = session.hands.node("node-c").observe(uuid)
        assert arrived is not None
        assert (arrived.state, arrived.attempt) == ("running", None)
        assert session.hands.journal.locks() == {}
        assert session.hands.journal.verify() > 0
    assert len(watch.result().boot_ids) == 1, "the same boot all along"

    policy.write_text("{}\n")
    _write_plan(lab, plan, "node-c", "node-a")
    with _apply(lab, plan, policy) as back:
        said = back.communicate(timeout=120)[0]
    assert back.returncode == 0, said
