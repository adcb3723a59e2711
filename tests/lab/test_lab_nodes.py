"""The lab's nodes and guests do what an operator expects of real ones: everything here is seen from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.hardware.disk_ring import read_disk
from lab.lifecycle.status import problems, status
from lab.lifecycle.up import up
from lab.nodes import guests, hypervisor, network, power, probe
from lab.nodes.guests import GUESTS, guest
from lab.nodes.node import Lab, run, wait_until
from models.errors import LabError

pytestmark = pytest.mark.lab


def _migrate(lab: Lab, name: str, source: str, target: str, *options: str) -> probe.ProbeResult:
    """Move a guest as an operator would, and what its clients noticed of it."""
    with probe.Probe(guests.probe_target(lab, guest(name))) as watch:
        watch.wait_answer(30)
        hypervisor.virsh(
            lab, source, "migrate", "--live", "--p2p", "--persistent", "--undefinesource", *options,
            name, hypervisor.uri(lab, target, pkipath=False), timeout=240,
        )  # fmt: skip
        watch.wait_answer(30)
    return watch.result()


def _running_on(lab: Lab, name: str) -> list[str]:
    return [node for node in lab.nodes if guests.where(lab, node).get(name) == "running"]


def test_every_guest_runs_where_it_belongs_and_answers(lab: Lab):
    seen = status(lab.name)
    assert problems(seen) == []
    assert {(vm.name, vm.node, vm.answers) for vm in seen.vms} == {(g.name, g.node, True) for g in GUESTS}


def test_the_whole_lab_takes_at_most_4_gib(lab: Lab):
    assert 0 < status(lab.name).memory_bytes <= 4 << 30


def test_up_on_a_lab_that_is_up_changes_nothing(lab: Lab):
    before = status(lab.name)
    lines: list[str] = []
    up(lab.name, lines.append)
    after = status(lab.name)
    assert "is up already" in lines[0]
    assert [s.pid for s in after.services] == [s.pid for s in before.services]
    assert [vm.boot_id for vm in after.vms] == [vm.boot_id for vm in before.vms]


@pytest.mark.parametrize("each", GUESTS, ids=lambda g: g.name)
def test_labels_are_in_the_domains_metadata(lab: Lab, each: guests.Guest):
    xml = hypervisor.virsh(lab, each.node, "metadata", each.name, guests.METADATA_NAMESPACE)
    label = ET.fromstring(xml)
    assert label.tag == "vm"
    assert label.get("priority") == ("high" if each.workload == "inference" else "low")
    assert label.get("cold-archive") == ("forbidden" if each.workload == "inference" else "allowed")
    assert probe.ask(label.attrib["probe"], seconds=10) is not None


def test_a_guest_answers_http_too(lab: Lab):
    url = f"http://{guests.address(lab, guest('infer-2'))}:{guests.PROBE_PORT}/"
    with urllib.request.urlopen(url, timeout=10) as response:
        said = json.load(response)
    assert said["name"] == "infer-2"
    assert 0 < said["durable"] <= said["counter"]


def test_live_migration_over_tls_of_a_guest_on_shared_storage(lab: Lab):
    there = _migrate(lab, "infer-1", "node-a", "node-b", "--tls")
    assert _running_on(lab, "infer-1") == ["node-b"]
    back = _migrate(lab, "infer-1", "node-b", "node-a", "--tls")
    assert _running_on(lab, "infer-1") == ["node-a"]
    assert there.boot_ids == back.boot_ids
    assert len(there.boot_ids) == 1
    assert there.counter_unbroken
    assert back.counter_unbroken
    assert there.lost_writes == back.lost_writes == 0


def _move_with_disk(lab: Lab, source: str, target: str, *options: str) -> probe.ProbeResult:
    """Move infer-3 with its disk. libvirt leaves the source's copy behind: removed here, or it could not come back."""
    seen = _migrate(lab, "infer-3", source, target, "--copy-storage-all", *options)
    hypervisor.virsh(lab, source, "pool-refresh", "local")
    hypervisor.virsh(lab, source, "vol-delete", "--pool", "local", "infer-3.qcow2")
    return seen


def test_live_migration_carries_a_local_disk_along(lab: Lab):
    seen = _move_with_disk(lab, "node-a", "node-c", "--tls")
    assert _running_on(lab, "infer-3") == ["node-c"]
    assert len(seen.boot_ids) == 1
    assert seen.counter_unbroken
    assert seen.last
    ring = read_disk(hypervisor.local_path(lab.node("node-c"), "infer-3.qcow2"))
    assert ring.torn == 0
    assert ring.missing() == []
    assert ring.last
    assert ring.last.sequence >= seen.last.durable
    _move_with_disk(lab, "node-c", "node-a", "--tls")
    assert _running_on(lab, "infer-3") == ["node-a"]


_LISTEN = """
import random, select, socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.setsockopt(socket.SOL_SOCKET, 33, 256 << 20)  # SO_RCVBUFFORCE
wire.bind((sys.argv[1], 0))
data = random.Random("infer-3").randbytes(8 << 20)  # what the lab filled that disk with
marks = [data[at : at + 16] for at in range(0, len(data), 64 << 10)]
print("listening", flush=True)
found = set()
while True:
    ready = select.select([wire, sys.stdin], [], [])[0]
    if wire in ready:
        packet = wire.recv(1 << 17)
        found.update(mark for mark in marks if mark in packet)
    elif ready:
        break
print(len(found))
"""


@contextmanager
def _listening(lab: Lab, node: str) -> Iterator[list[int]]:
    """Listens on a node's cable; afterwards the list holds how many pieces of infer-3's disk were readable there."""
    command = ["ip", "netns", "exec", network.switch_netns(lab), sys.executable, "-c", _LISTEN, node]
    heard: list[int] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout
        assert listener.stdout.readline() == "listening\n"
        yield heard
        heard.append(int(listener.communicate(timeout=120)[0]))


def test_a_tls_migration_shows_nothing_of_the_disk_on_the_wire(lab: Lab):
    with _listening(lab, "node-a") as plain:
        _move_with_disk(lab, "node-a", "node-b")
    with _listening(lab, "node-a") as encrypted:
        _move_with_disk(lab, "node-b", "node-a", "--tls")
    assert plain[0] > 0  # the listener hears what is there to hear
    assert encrypted == [0]


def test_libvirt_refuses_to_migrate_a_local_disk_without_copying_it(lab: Lab):
    with pytest.raises(LabError, match="unsafe"):
        _migrate(lab, "infer-3", "node-a", "node-c")
    assert _running_on(lab, "infer-3") == ["node-a"]


def test_the_power_button_shuts_a_guest_down_and_its_counter_goes_on_after_the_next_boot(lab: Lab):
    each = guest("batch-1")
    before = probe.ask(guests.probe_target(lab, each), seconds=30)
    assert before
    hypervisor.virsh(lab, each.node, "shutdown", each.name)
    wait_until(lambda: guests.where(lab, each.node)[each.name] == "shut off", seconds=60, what=f"{each.name} shut off")
    stopped = read_disk(guests.disk_path(lab, each))
    assert stopped.last
    assert stopped.last.sequence >= before.durable
    assert stopped.missing() == []

    hypervisor.virsh(lab, each.node, "start", each.name)
    after = probe.ask(guests.probe_target(lab, each), seconds=120)
    assert after
    assert after.boot_id != before.boot_id
    assert after.counter >= stopped.last.sequence
    # The guest answers before its first record is on the disk.
    wait_until(
        lambda: read_disk(guests.disk_path(lab, each)).boots()[-2:] == [before.boot_id, after.boot_id],
        seconds=60,
        what=f"{each.name}'s records of both boots",
    )
    assert read_disk(guests.disk_path(lab, each)).missing() == []


def test_a_client_without_the_labs_certificate_is_refused(lab: Lab, tmp_path):
    plain = f"qemu+tls://{lab.node('node-a').address}/system?pkipath={tmp_path}"
    assert run(["virsh", "-c", plain, "list"], check=False).returncode != 0


def test_the_local_pool_has_the_same_path_everywhere_and_is_not_shared(lab: Lab):
    on_a, on_b = (
        {line.split()[0] for line in hypervisor.virsh(lab, node, "vol-list", "local").splitlines() if line.strip()}
        for node in ("node-a", "node-b")
    )
    assert "batch-1.qcow2" in on_a
    assert on_b == set()
    paths = {
        ET.fromstring(hypervisor.virsh(lab, n, "pool-dumpxml", "local")).findtext("target/path") for n in lab.nodes
    }
    assert paths == {str(hypervisor.LOCAL_POOL)}
    shared = {hypervisor.virsh(lab, node, "vol-list", "shared") for node in lab.nodes}
    assert len(shared) == 1
    assert "infer-1.raw" in shared.pop()


def test_nodes_are_different_hosts_and_reach_each_others_guests(lab: Lab):
    assert {hypervisor.virsh(lab, node, "hostname").strip() for node in lab.nodes} == set(lab.nodes)
    uuids = {ET.fromstring(hypervisor.virsh(lab, n, "capabilities")).findtext("host/uuid") for n in lab.nodes}
    assert len(uuids) == len(lab.nodes)
    lab.node("node-c").run("ping", "-c", "1", "-W", "10", guests.address(lab, guest("infer-4")))


def test_an_unplugged_node_keeps_running_and_answers_again_when_plugged_in(lab: Lab):
    target = guests.probe_target(lab, guest("infer-4"))
    before = probe.ask(target, seconds=10)
    power.set_link(lab, "node-b", up=False)
    assert probe.ask(target, seconds=0.5) is None
    power.set_link(lab, "node-b", up=True)
    after = probe.ask(target, seconds=30)
    assert before
    assert after
    assert after.boot_id == before.boot_id
    assert "infer-4" in hypervisor.virsh(lab, "node-b", "list", "--name")
