"""Prechecks and pinned certificates on the lab's real libvirt."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from agent.actions.attempt import AttemptContext
from agent.actions.cold_migration import cold_migrate
from agent.actions.live.live_migration import live_migrate
from agent.actions.resources import Resources
from agent.cli.app import app
from agent.settings import load_settings
from agent.state.certificate_pins import Pins
from lab.nodes import certificates, guests
from lab.nodes.node import Lab, run
from models.errors import IdentityUnproven
from models.fleet import VmState
from models.plan import Action, ActionKind
from models.policy.policy import PinRule, Policy
from tools.clock import SystemClock
from tools.journal.sqlite import SqliteJournal
from tools.libvirt.fleet import connect_nodes

pytestmark = pytest.mark.lab


@pytest.fixture
def hands(lab: Lab, tmp_path: Path) -> Iterator[Resources]:
    nodes = connect_nodes(load_settings(lab.config_path))
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    clock = SystemClock()
    yield Resources(nodes=dict(nodes), clock=clock, journal=journal, pins=Pins(tmp_path / "pins.json", journal, clock))
    for node in nodes.values():
        node.close()
    journal.close()


def test_what_the_prechecks_ask_is_answered_by_real_libvirt(lab: Lab, hands: Resources):
    node, other = hands.nodes["node-a"], hands.nodes["node-b"]
    xml = node.running_xml(str(guests.guest_uuid(lab, guests.guest("infer-1"))))
    assert node.versions().libvirt >= 9_000_000
    assert node.versions() == other.versions()
    cells = node.cells()
    assert cells
    assert all(0 < cell.free_bytes <= cell.memory_bytes for cell in cells)
    assert other.closed_port() is None
    assert node.common_cpu_model(xml, [node.host_cpu(), other.host_cpu()])
    assert node.clock_offset_seconds() is None, "libvirt does not tell, and nothing is made up"


def test_a_swapped_certificate_of_the_same_ca_stops_the_move_before_anything_is_sent(lab: Lab, hands: Resources):
    identity = str(guests.guest_uuid(lab, guests.guest("infer-1")))
    source, target = hands.nodes["node-a"], hands.nodes["node-b"]
    pins = hands.pins
    assert pins is not None
    pins.pin("node-b", target.tls_fingerprint(), by="doctor")
    with other_certificate(lab, "node-b"):
        assert target.tls_fingerprint() != pins.known()["node-b"].sha256, "it holds by CA, name and dates"
        with pytest.raises(IdentityUnproven, match="pinned since"):
            live_migrate(attempt(hands, identity, ActionKind.LIVE_MIGRATE))
        with pytest.raises(IdentityUnproven, match="pinned since"):
            cold_migrate(attempt(hands, identity, ActionKind.COLD_MIGRATE))
        seen = source.observe(identity)
        assert seen is not None
        assert (seen.state, seen.attempt) == (VmState.RUNNING, None)
        assert target.observe(identity) is None
        assert [entry.kind for entry in hands.journal.entries()] == ["certificate-pinned"]
    assert target.tls_fingerprint() == pins.known()["node-b"].sha256


def test_the_doctor_passes_a_sound_lab_and_fails_the_pin_of_a_swapped_certificate_alone(lab: Lab, tmp_path: Path):
    config = tmp_path / "lifeboat.yaml"
    config.write_text(
        yaml.safe_dump(yaml.safe_load(lab.config_path.read_text()) | {"state_dir": str(tmp_path / "state")})
    )

    def failing(*options: str) -> set[tuple[str, str]]:
        done = CliRunner().invoke(app, ["doctor", "--config", str(config), "--json", *options])
        found = {(row["check"], row["subject"]) for row in json.loads(done.stdout) if row["health"] == "fail"}
        assert done.exit_code == (1 if found else 0)
        return found

    assert failing("--pin") == set()
    with other_certificate(lab, "node-b"):
        assert failing("--pin") == {("pin", "node-b")}
    assert failing() == set()


def attempt(hands: Resources, identity: str, kind: ActionKind) -> AttemptContext:
    vm = next(vm for vm in hands.nodes["node-a"].vms() if vm.uuid == identity)
    action = Action(
        kind=kind,
        vm=vm.uuid,
        vm_name=vm.name,
        source="node-a",
        target="node-b",
        reason="test",
    )
    policy = Policy().model_copy(update={"migration": Policy().migration.model_copy(update={"pins": PinRule.REQUIRED})})
    return AttemptContext(
        id=f"test-{uuid.uuid4()}", evacuation="test", action=action, vm=vm, policy=policy, hands=hands,
        on_progress=lambda _: None, cancelled=threading.Event(),
    )  # fmt: skip


@contextmanager
def other_certificate(lab: Lab, node: str) -> Generator[None]:
    """For a while the node's libvirtd shows another certificate that holds."""
    pki = lab.node(node).run_dir / "fs/etc/pki/libvirt"
    kept = {path: path.read_bytes() for path in (pki / "servercert.pem", pki / "private/serverkey.pem")}
    try:
        certificates.renew_server(lab, node)
        reload_certificates(lab, node)
        yield
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
        reload_certificates(lab, node)


def reload_certificates(lab: Lab, node: str) -> None:
    """As an operator does after a renewal; connections that stand are left alone."""
    run(lab.node(node).command("virt-admin", "-c", "libvirtd:///system", "server-update-tls", "libvirtd"), where=node)
