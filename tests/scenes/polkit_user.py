"""What one of the two users does on the nodes of `scenes.polkit_nodes`, in a process that is that user's.

    python -m scenes.polkit_user looks,doctor,refused,came_to '{"a": URI, "b": URI, "home": DIRECTORY, …}'

Prints one JSON object with what each part found.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import libvirt

from agent.actions.attempt import AttemptContext
from agent.actions.resources import Resources
from agent.actions.runner import run_attempt
from agent.archives.restore import restore
from models.errors import NodeUnreachable
from models.plan import Action, ActionKind
from models.policy.policy import ArchivePolicy, MigrationPolicy, Policy, SourceRelease
from tools.archive.store import FsspecArchiveStore
from tools.clock import SystemClock
from tools.journal.sqlite import SqliteJournal
from tools.libvirt.migration.migration_job import Peer
from tools.libvirt.node import LibvirtNode
from tools.libvirt.permissions import may_write
from tools.ports.hypervisor import Hypervisor

Given = Mapping[str, str]
_POLICY = Policy(
    migration=MigrationPolicy(tls_required=False), archive=ArchivePolicy(release_source=SourceRelease.UNDEFINE)
)
_NOT_TO_BE_REACHED = "qemu+unix:///session?socket=/nowhere/libvirt-sock"
_DOMAIN = "<domain type='qemu'><name>new</name><memory>1024</memory><os><type>hvm</type></os></domain>"
_VOLUME = "<volume><name>new.raw</name><capacity>4096</capacity></volume>"
_POOL = "<pool type='dir'><name>new</name><target><path>/tmp</path></target></pool>"
_SNAPSHOT = "<domainsnapshot><name>new</name></domainsnapshot>"
_DISK = "<disk type='file'><source file='/srv/other.raw'/><target dev='vdb' bus='virtio'/></disk>"
_NETWORK = "<network><name>new</name></network>"
_FILTER = "<filter name='new'/>"
_SECRET = "<secret><usage type='tls'><name>new</name></usage></secret>"

Call = Callable[[libvirt.virConnect, libvirt.virDomain], Any]

ACTING: dict[str, Call] = {
    "define": lambda c, _: c.defineXML(_DOMAIN),
    "what QEMU is started with": lambda c, _: c.domainXMLToNative("qemu-argv", _DOMAIN, 0),
    "the definition with its passwords": lambda _, d: d.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE),
    "mark": lambda _, d: d.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT, "<x/>", "x", "urn:x", libvirt.VIR_DOMAIN_AFFECT_LIVE
    ),
    "autostart": lambda _, d: d.setAutostart(1),
    "pause": lambda _, d: d.suspend(),
    "resume": lambda _, d: d.resume(),
    "shut down": lambda _, d: d.shutdown(),
    "undefine": lambda _, d: d.undefine(),
    "limit the disks": lambda _, d: d.setBlockIoTune("vda", {"total_bytes_sec": 1 << 30}),
    "measure the dirty rate": lambda _, d: d.startDirtyRateCalc(1),
    "move": lambda _, d: d.migrateToURI2("qemu+tcp://192.0.2.1/system", flags=libvirt.VIR_MIGRATE_PEER2PEER),
    "abort a job": lambda _, d: d.abortJob(),
    "limit the downtime": lambda _, d: d.migrateSetMaxDowntime(300, 0),
    "record a snapshot": lambda _, d: d.snapshotCreateXML(_SNAPSHOT, libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE),
    "record a checkpoint": lambda _, d: d.checkpointCreateXML("<domaincheckpoint/>", 1),
    "look into a pool again": lambda c, _: c.storagePoolLookupByName("images").refresh(0),
    "make a disk": lambda c, _: c.storagePoolLookupByName("images").createXML(_VOLUME, 0),
    "read a disk": lambda c, _: c.storageVolLookupByPath("/srv/spare.raw").download(c.newStream(0), 0, 512, 0),
    "write a disk": lambda c, _: c.storageVolLookupByPath("/srv/spare.raw").upload(c.newStream(0), 0, 512, 0),
    "remove a disk": lambda c, _: c.storageVolLookupByPath("/srv/spare.raw").delete(0),
    "a pool for a folder": lambda c, _: c.storagePoolCreateXML(_POOL, 0),
    "power off": lambda _, d: d.destroy(),
}  # fmt: skip
"""what evacuations, archives and restores ask"""

NOBODYS: dict[str, Call] = {
    "look at the screen": lambda c, d: d.screenshot(c.newStream(0), 0),
    "open the screen": lambda _, d: d.openGraphicsFD(0),
    "open the console": lambda c, d: d.openConsole("serial0", c.newStream(0)),
    "type": lambda _, d: d.sendKey(libvirt.VIR_KEYCODE_SET_LINUX, 0, [30], 1, 0),
    "read memory": lambda _, d: d.memoryPeek(0, 16, libvirt.VIR_MEMORY_PHYSICAL),
    "dump memory": lambda _, d: d.coreDump("/tmp/dump", 0),
    "set a password": lambda _, d: d.setUserPassword("root", "x"),
    "inject an interrupt": lambda _, d: d.injectNMI(),
    "reset": lambda _, d: d.reset(0),
    "a new network": lambda c, _: c.networkDefineXML(_NETWORK),
    "a new filter": lambda c, _: c.nwfilterDefineXML(_FILTER),
    "a new secret": lambda c, _: c.secretDefineXML(_SECRET),
    "send the host to sleep": lambda c, _: c.suspendForDuration(libvirt.VIR_NODE_SUSPEND_TARGET_MEM, 60, 0),
}
"""what lifeboat never asks"""

_REFUSED = (libvirt.VIR_ERR_ACCESS_DENIED, libvirt.VIR_ERR_AUTH_CANCELLED, libvirt.VIR_ERR_OPERATION_DENIED)


def look(given: Given) -> Any:
    """By node, a whole look by the read-only connection, with nothing else to be had."""
    looks: dict[str, Any] = {}
    for name in ("a", "b"):
        with closing(LibvirtNode(name, _NOT_TO_BE_REACHED, read_uri=f"{given[name]}-ro")) as node:
            looks[name] = {"node": node.node().name, "vms": [vm.name for vm in node.vms() if vm.disk_bytes]}
    return looks


def doctor(given: Given) -> Any:
    """By node, what the doctor finds out of this user: whether it may write; None: it is not let in to do so."""
    found: dict[str, bool | None] = {}
    for name in ("a", "b"):
        try:
            found[name] = may_write(name, given[name])
        except NodeUnreachable:
            found[name] = None
    return found


def attempt_each(given: Given) -> Any:
    """Each call on guest `tried` of node b, where everybody comes in: whether libvirt's access control refused it. What it let
    through may still have failed."""
    connection = libvirt.open(given["b"])
    domain = connection.lookupByName(given["tried"])
    return {
        kind: {name: _refused(call, connection, domain) for name, call in calls.items()}
        for kind, calls in (("nobody's", NOBODYS), ("acting", ACTING))  # in this order: the last one powers it off
    }


def _refused(call: Call, connection: libvirt.virConnect, domain: libvirt.virDomain) -> bool:
    try:
        call(connection, domain)
    except libvirt.libvirtError as error:
        return error.get_error_code() in _REFUSED
    return False


def act(given: Given) -> Any:
    """Guest `live` moves from a to b while it runs, `cold` from a to b stopped, `archived` into the archive and back onto b."""
    uris = {name: given[name] for name in ("a", "b")}
    peers = {name: Peer(uri, "127.0.0.1") for name, uri in uris.items()}
    nodes: dict[str, Hypervisor] = {
        name: LibvirtNode(
            name, uri, read_uri=f"{uri}-ro", memory_reserved_bytes=0,
            peers={other: peer for other, peer in peers.items() if other != name},
        )
        for name, uri in uris.items()
    }  # fmt: skip
    home = Path(given["home"])
    hands = Resources(
        nodes=nodes, clock=SystemClock(), journal=SqliteJournal(home / "journal.sqlite"),
        archives=FsspecArchiveStore(f"file://{home}/archives", key_file=home / "key"),
    )  # fmt: skip
    came_to: dict[str, Any] = {}
    for kind, name in (
        (ActionKind.LIVE_MIGRATE, "live"),
        (ActionKind.COLD_MIGRATE, "cold"),
        (ActionKind.COLD_ARCHIVE, "archived"),
    ):
        vm = next(vm for vm in nodes["a"].vms() if vm.name == name)
        action = Action(
            kind=kind, vm=vm.uuid, vm_name=name, source="a", reason="a test",
            target=None if kind is ActionKind.COLD_ARCHIVE else "b",
        )  # fmt: skip
        attempt = run_attempt(
            AttemptContext(
                id=f"attempt-{name}", evacuation="evac", action=action, vm=vm, policy=_POLICY, hands=hands,
                on_progress=lambda _: None,
            )
        )  # fmt: skip
        came_to[name] = f"{attempt.outcome}: {attempt.message}"
        if attempt.archive is not None:
            restore(hands, attempt.archive.id, "b", start=True)
            came_to["restored"] = "done"
    return came_to


if __name__ == "__main__":
    _, wanted, said = sys.argv
    parts = {"looks": look, "doctor": doctor, "refused": attempt_each, "came_to": act}
    given: Given = json.loads(said)
    sys.stdout.write(json.dumps({part: parts[part](given) for part in wanted.split(",")}))
