"""A scenario's stage on real libvirt: three nodes of the lab, three of its guests.

Moments of a migration are waited for on libvirt's own job figures, so only `copying` can be hit; the policy's bandwidth cap
makes it last. The truth is read from libvirt on each node by a connection of its own, and from the disk of a dead one.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import libvirt
from chaos.stage import NODES, Copy, Stage

from lab.nodes import guests, hypervisor, power, probe
from lab.nodes.node import Lab, wait_until
from lab.nodes.processes import wait_gone
from models.errors import LifeboatError
from models.fleet import VmState
from models.policy.policy import Policy
from tools.archive.store import FsspecArchiveStore
from tools.clock import SystemClock
from tools.domain.labels import read_attempt
from tools.libvirt.migration.migration_job import Peer
from tools.libvirt.node import LibvirtNode
from tools.simulated.migration import Phase

VMS = ("infer-1", "infer-3", "batch-1")
_BYTES_PER_SECOND = 12 << 20
_STORE_BYTES = 96 << 20
_NOWHERE = "02:00:00:00:00:01"
_POLL_SECONDS = 0.05
_STATES = {libvirt.VIR_DOMAIN_RUNNING: VmState.RUNNING, libvirt.VIR_DOMAIN_PAUSED: VmState.PAUSED}


class LabStage(Stage):
    """For one scenario. `close` gives back what it mounted and mends what it cut; dead nodes stay dead."""

    kind = "lab"

    def __init__(self, lab: Lab, directory: Path) -> None:
        super().__init__()
        self.lab = lab
        self.directory = directory
        self.clock = SystemClock()
        self.uuids = {vm: str(guests.guest_uuid(lab, guests.guest(vm))) for vm in VMS}
        uris = {name: hypervisor.uri(lab, name, pkipath=False) for name in NODES}
        self._nodes = {
            name: LibvirtNode(
                name,
                hypervisor.uri(lab, name),
                peers={peer: Peer(uri) for peer, uri in uris.items() if peer != name},
                migration_uri=uris[name],
                memory_reserved_bytes=512 << 20,
            )
            for name in NODES
        }
        self._watchers: list[threading.Thread] = []
        self._closing = threading.Event()
        self._cut: set[tuple[str, str]] = set()
        self.failures: list[BaseException] = []
        """of what was to happen at a moment"""
        self.archives = directory / "archives"
        self.archives.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={_STORE_BYTES}", "lifeboat-chaos", str(self.archives))

    def close(self) -> None:
        self._closing.set()
        for watcher in self._watchers:
            watcher.join(30)
        self.mend_links()
        for node in self._nodes.values():
            node.close()
        _run("umount", str(self.archives))

    # --- what lifeboat works with ---

    @property
    def nodes(self) -> Mapping[str, Any]:
        return self._nodes

    def open_store(self) -> FsspecArchiveStore:
        return FsspecArchiveStore(f"{self.archives.as_uri()}/store", key_file=self.directory / "key")

    def used_by(self, require_running: Callable[[], None] | None) -> None:
        """No lifeboat is stopped dead in its own process here; the harness with real SIGKILL does that."""

    def policy(self, policy: Policy) -> Policy:
        slow = policy.migration.model_copy(update={"bandwidth_bytes_per_second": _BYTES_PER_SECOND})
        return policy.model_copy(update={"migration": slow})

    # --- the truth ---

    def copies(self, vm: str) -> list[Copy]:
        return [copy for node in NODES if (copy := self._copy(node, vm)) is not None]

    def _copy(self, node: str, vm: str) -> Copy | None:
        if not self.powered(node):
            definition = self.lab.node(node).run_dir / f"fs/etc/libvirt/qemu/{vm}.xml"
            return Copy(node, VmState.SHUTOFF, False, None, {}) if definition.exists() else None
        connection = libvirt.open(hypervisor.uri(self.lab, node))
        try:
            domain = connection.lookupByUUIDString(self.uuids[vm])
            state, xml = int(domain.state()[0]), domain.XMLDesc(0)
            arriving = state == libvirt.VIR_DOMAIN_PAUSED and not domain.isPersistent()
            shown = _STATES.get(state, VmState.SHUTOFF)
            return Copy(node, shown, arriving, read_attempt(xml), self._settings(vm, xml, shown))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise
        finally:
            connection.close()

    def _settings(self, vm: str, xml: str, state: VmState) -> dict[str, Any]:
        root = ET.fromstring(xml)
        label = root.find("./metadata/{*}vm")
        found: dict[str, Any] = {
            "name": root.findtext("name"),
            "label": label.attrib if label is not None else None,
            "throttles": [ET.tostring(each).strip() for each in root.iter() if each.tag in ("iotune", "blkiotune")],
        }
        if vm.startswith("infer") and state is VmState.RUNNING:  # a live move keeps its boot; a copy moved cold may not
            answer = probe.ask(guests.probe_target(self.lab, guests.guest(vm)), seconds=20)
            found["boot"] = answer.boot_id if answer else "does not answer"
        return found

    def ran_twice(self) -> set[str]:
        """What is seen now. That a guest's boot stays the same (see `_settings`) tells of the time before."""
        return set()

    def images(self) -> set[tuple[str, str]]:
        return {
            (node, f"{hypervisor.LOCAL_POOL}/{path.name}")
            for node in NODES
            for path in hypervisor.local_path(self.lab.node(node), "x").parent.iterdir()
            if path.name.startswith(VMS)
        }

    def powered(self, node: str) -> bool:
        return self.lab.node(node).alive()

    # --- what happens ---

    def when(self, vm: str, phase: Phase, do: Callable[[], object], *, takes_time: bool) -> None:
        if phase is not Phase.COPYING:
            raise ValueError(f"the lab can't hit {phase}")
        watched = LibvirtNode("node-a", hypervisor.uri(self.lab, "node-a"))

        def watch() -> None:
            try:
                while not self._closing.is_set():
                    with suppress(LifeboatError):
                        job = watched.job(self.uuids[vm])
                        if job is not None and job.bytes_processed > 1 << 20:
                            do()
                            return
                    self._closing.wait(_POLL_SECONDS)
            except BaseException as error:
                self.failures.append(error)
            finally:
                watched.close()

        self._watchers.append(threading.Thread(target=watch, name=f"watch-{vm}", daemon=True))
        self._watchers[-1].start()

    def after_seconds(self, seconds: float, do: Callable[[], object]) -> None:
        raise ValueError("the lab waits on conditions, never on time")

    def kill_node(self, node: str) -> None:
        self.touch(*self.active_on(node))
        power.kill_node(self.lab, node)

    def kill_libvirtd(self, node: str) -> None:
        daemons = [
            ref
            for ref in self.lab.node(node).processes()
            if Path(f"/proc/{ref.pid}/cmdline").read_bytes().startswith((b"libvirtd\0", b"/usr/sbin/libvirtd\0"))
        ]
        assert daemons, f"no libvirtd runs on {node}"
        for ref in daemons:
            ref.kill()
        assert not wait_gone(daemons, 10)

    def start_libvirtd(self, node: str) -> None:
        hypervisor.start_libvirtd(self.lab, self.lab.node(node))
        hypervisor.wait_ready(self.lab, self.lab.node(node))

    def cut_link(self, one: str, other: str) -> None:
        """Each sends what is for the other to an address nobody has: silence, as with a cut cable."""
        for here, there in ((one, other), (other, one)):
            self._cut.add((here, there))
            address = self.lab.node(there).address
            self.lab.node(here).run(
                "ip", "neigh", "replace", address, "lladdr", _NOWHERE, "dev", "br0", "nud", "permanent"
            )

    def mend_links(self) -> None:
        for here, there in self._cut:
            if self.powered(here):
                self.lab.node(here).run("ip", "neigh", "del", self.lab.node(there).address, "dev", "br0", check=False)
        self._cut.clear()

    def cut_off(self, node: str) -> None:
        raise ValueError("in the lab, lifeboat and the nodes share one cable")

    def reconnect(self) -> None:
        """Nothing was cut off."""

    def shut_off(self, vm: str) -> None:
        self.touch(vm)
        for copy in self.copies(vm):
            if copy.state is not VmState.SHUTOFF and not copy.arriving:
                hypervisor.virsh(self.lab, copy.node, "destroy", vm, timeout=60)

    def store_room(self, room: int | None) -> None:
        filler = self.archives / "filler"
        filler.unlink(missing_ok=True)
        if room is not None:
            free = os.statvfs(self.archives)
            with filler.open("wb") as file:
                os.posix_fallocate(
                    file.fileno(), 0, free.f_bavail * free.f_frsize - room // free.f_frsize * free.f_frsize
                )

    def store_gone(self, gone: bool) -> None:
        raise ValueError("not in the lab")

    def store_is_gone(self) -> bool:
        return False


def reset(lab: Lab) -> None:
    """Bring the guests back to where the lab starts them, whatever a scenario did; dead nodes aside."""
    alive = [node for node in NODES if lab.node(node).alive()]
    for vm in VMS:
        found = {node: states[vm] for node in alive if vm in (states := guests.where(lab, node))}
        if "node-a" not in found and "node-a" in alive and len(found) == 1:
            (node,) = found
            _move_back(lab, vm, node)
        elif found.get("node-a") == "shut off":
            hypervisor.virsh(lab, "node-a", "start", vm)
        _unmark(lab, vm, "node-a")
    targets = [guests.probe_target(lab, guests.guest(vm)) for vm in VMS]
    answers = probe.ask_all(targets, seconds=90)
    assert all(answers.values()), f"{[target for target, answer in answers.items() if answer is None]} do not answer"


def _move_back(lab: Lab, vm: str, node: str) -> None:
    local = guests.guest(vm).storage == "local"
    file = guests.disk_path(lab, guests.guest(vm)).name
    if local:
        hypervisor.virsh(lab, "node-a", "pool-refresh", "local")
        hypervisor.virsh(lab, "node-a", "vol-delete", "--pool", "local", file, check=False)
    hypervisor.virsh(
        lab, node, "migrate", "--live", "--p2p", "--tls", "--persistent", "--undefinesource",
        *(["--copy-storage-all"] if local else []), vm, hypervisor.uri(lab, "node-a", pkipath=False), timeout=120,
    )  # fmt: skip
    if local:
        hypervisor.virsh(lab, node, "pool-refresh", "local")
        hypervisor.virsh(lab, node, "vol-delete", "--pool", "local", file)


def _unmark(lab: Lab, vm: str, node: str) -> None:
    if lab.node(node).alive():
        hypervisor_node = LibvirtNode(node, hypervisor.uri(lab, node))
        with suppress(LifeboatError):
            hypervisor_node.tag_attempt(str(guests.guest_uuid(lab, guests.guest(vm))), None)
        hypervisor_node.close()


def wait_for_libvirt(lab: Lab, node: str) -> None:
    """Until it answers. Raises LabError."""
    wait_until(lambda: bool(guests.where(lab, node)), seconds=60, what=f"libvirtd on {node}")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, timeout=30)


def elapsed(since: float) -> float:
    return time.monotonic() - since
