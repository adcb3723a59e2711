"""Two real libvirtds on this machine, as an ordinary user, and small guests for them. No root, no namespaces, no network.

Each has directories of its own; images have the same path on both, `/proc/self/cwd/images`: whoever opens it finds the
directory that belongs to its node, since libvirtd and QEMU each run in theirs. Live migration is not for them: libvirt
refuses it between two nodes of one host name.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid as uuids
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import libvirt

from agent.actions.attempt import AttemptContext
from agent.actions.resources import Resources
from agent.actions.runner import run_attempt
from models.evacuation import Attempt
from models.fleet import Priority, Vm
from models.plan import Action, ActionKind
from models.policy.policy import ArchivePolicy, MigrationPolicy, Policy, SourceRelease
from tools.archive.store import FsspecArchiveStore
from tools.clock import SystemClock
from tools.domain.labels import NAMESPACE, Labels, write_labels
from tools.journal.sqlite import SqliteJournal
from tools.libvirt.node import LibvirtNode
from tools.ports.hypervisor import Hypervisor

IMAGES = "/proc/self/cwd/images"
QEMU = "/usr/bin/qemu-system-x86_64"
POLICY = Policy(
    archive=ArchivePolicy(release_source=SourceRelease.UNDEFINE), migration=MigrationPolicy(tls_required=False)
)
_SECTOR = 512
_SOCKET = "run/libvirt/libvirt-sock"
_CONNECTED = "03"  # as /proc/net/unix says
_BOOT_CODE = bytes.fromhex(
    "31c0 8ed8 8ec0 8ed0 bc007c fb"  # segments, stack, interrupts
    "bb007e b80102 b90200 b600 52 cd13"  # reads the second sector
    "ff06007e 5a b80103 b90200 b600 bb007e cd13"  # adds one to its first word, writes it back
    "ba0206 b80001 ef"  # asks ACPI for the power button
    "f4 ba0006 ed f6c401 74f6"  # sleeps until it was pressed
    "ba0406 b80020 ef f4 ebfd"  # and turns itself off
)
"""an operating system of 70 bytes that counts on its disk how often it was started"""

_EVERYTHING = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)
_SECONDS = 180.0


def missing() -> str | None:
    """What this machine lacks for it; None: nothing."""
    programs = [program for program in ("libvirtd", QEMU, "qemu-img") if shutil.which(program) is None]
    return f"needs {', '.join(programs)}" if programs else None


def until(condition: Callable[[], object], what: str, seconds: float = _SECONDS) -> None:
    """Raises AssertionError when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds:g} s"
        time.sleep(0.02)


def boot_disk() -> bytes:
    """What a disk of 1 MiB holds that boots, and counts its starts."""
    code = _BOOT_CODE.ljust(_SECTOR - 2, b"\0") + b"\x55\xaa"
    return code.ljust(1 << 20, b"\0")


def label_of(labels: Labels) -> str:
    """The labels as they stand in a definition's metadata."""
    label = ET.fromstring(write_labels(labels))
    label.tag = f"{{{NAMESPACE}}}vm"
    return ET.tostring(label, encoding="unicode")


def ordinary_user() -> pwd.struct_passwd | None:
    """Whom a libvirtd runs as; None: whoever runs the test. Root's would be the system's own."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


class Libvirtd:
    """One node: its daemon, its directories, and libvirt's own way to it, for what lifeboat itself never does."""

    def __init__(self, directory: Path, name: str, user: pwd.struct_passwd | None, *, listens: str = "") -> None:
        """`listens`: lines of libvirtd.conf about a listener beside the socket."""
        self.directory, self.name, self._user, self._listens = directory, name, user, listens
        self.uri = f"qemu+unix:///session?socket={directory}/{_SOCKET}"
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: libvirt.virConnect | None = None
        for each in ("", "run", "config", "config/libvirt", "cache", "images"):
            self.own(directory / each)
        settings = "namespaces = []\nremember_owner = 0\nsecurity_driver = 'none'\nstdio_handler = 'file'\n"
        self.own(directory / "config/libvirt/qemu.conf", settings.replace("'", '"').encode())
        identity = uuids.uuid5(uuids.NAMESPACE_URL, f"lifeboat/{name}")
        conf = f'host_uuid = "{identity}"\nlog_outputs = "2:stderr"\n{listens}'
        self.own(directory / "libvirtd.conf", conf.encode())

    def own(self, path: Path, content: bytes | None = None) -> None:
        """Make a directory or file that belongs to the node's user."""
        if content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content)
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def start(self) -> None:
        places = {"HOME": "", "XDG_RUNTIME_DIR": "run", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache"}
        environment = {name: str(self.directory / each) for name, each in places.items()}
        as_user: dict[str, Any] = {}
        if self._user is not None:
            as_user = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["libvirtd", *(["--listen"] if self._listens else []), "--config", self.directory / "libvirtd.conf"],
                cwd=self.directory, env={"PATH": os.environ["PATH"], **environment}, stderr=log, **as_user,
            )  # fmt: skip
        until(self._answers, f"libvirtd {self.name}")
        if not self.virt.listAllStoragePools(0):
            pool = f"<pool type='dir'><name>images</name><target><path>{IMAGES}</path></target></pool>"
            self.virt.storagePoolCreateXML(pool, 0)

    def _answers(self) -> bool:
        if (self.directory / _SOCKET).exists():
            with suppress(libvirt.libvirtError):
                self._connection = libvirt.open(self.uri)
                return True
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()
        return False

    def stop(self) -> None:
        """End the daemon. Its guests run on, as on a real node."""
        with suppress(libvirt.libvirtError):
            if self._connection is not None:
                self._connection.close()
        self._connection = None
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_SECONDS)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def come_up_again(self) -> None:
        """As when the whole node went down: every guest is gone, and libvirt starts those that start by themselves."""
        self.stop()
        self.kill_guests()
        shutil.rmtree(self.directory / "run")  # what a reboot empties, libvirt's note of what it has started with it
        self.own(self.directory / "run")
        self.start()

    def kill_guests(self) -> None:
        for pid in (self.directory / "run/libvirt/qemu/run").glob("*.pid"):
            if pid.name != "driver.pid":  # libvirtd's own
                with suppress(ValueError, ProcessLookupError):
                    os.kill(int(pid.read_text()), signal.SIGKILL)

    @property
    def virt(self) -> libvirt.virConnect:
        assert self._connection is not None, f"libvirtd {self.name} is not running"
        return self._connection

    def connections(self) -> set[str]:
        """The inodes of the sockets by which clients are connected to it."""
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        listening = f"{self.directory}/{_SOCKET}"
        return {inode for *_, state, inode, path in (line for line in lines if len(line) == 8)
                if path == listening and state == _CONNECTED}  # fmt: skip

    def domain(self, name: str) -> libvirt.virDomain:
        return self.virt.lookupByName(name)

    def knows(self, name: str) -> bool:
        return any(domain.name() == name for domain in self.virt.listAllDomains(0))

    def runs(self, name: str) -> bool:
        return self.knows(name) and self.domain(name).isActive() == 1

    def image(self, file: str) -> Path:
        return self.directory / "images" / file

    def files(self) -> set[str]:
        """What is among its images."""
        return {path.name for path in self.image("").iterdir()}

    def qemu_pid(self, name: str) -> int:
        return int((self.directory / f"run/libvirt/qemu/run/{name}.pid").read_text())

    def make_image(self, file: str, *, format: str = "raw", options: str = "", noise_mib: int = 0) -> None:
        """A disk that boots and counts its starts, and then holds noise."""
        plain = self.directory / "images" / f"{file}.making"
        plain.write_bytes(boot_disk() + os.urandom(noise_mib << 20))
        more = ["-o", options] if options else []
        subprocess.run(
            ["qemu-img", "convert", "-q", "-O", format, *more, plain, self.image(file)],
            check=True, cwd=self.directory,
        )  # fmt: skip
        plain.unlink()
        if self._user is not None:
            for made in self.image("").iterdir():  # its data file too
                os.chown(made, self._user.pw_uid, self._user.pw_gid)

    def starts(self, file: str, format: str = "raw") -> int:
        """How often a guest was started from this image, as it says itself."""
        if format == "raw":
            with self.image(file).open("rb") as image:
                return int.from_bytes(image.read(_SECTOR + 2)[_SECTOR:], "little")
        with tempfile.NamedTemporaryFile() as plain:
            command = ["qemu-img", "convert", "-q", "-U", "-f", format, "-O", "raw", self.image(file), plain.name]
            subprocess.run(command, check=True)
            return int.from_bytes(Path(plain.name).read_bytes()[_SECTOR : _SECTOR + 2], "little")


class TwoLibvirtds:
    """Nodes a and b, and the lifeboat that moves guests between them."""

    def __init__(self) -> None:
        user = ordinary_user()
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="lifeboat-2-", dir=base))  # short: a socket's path has 107 bytes
        self.directory.chmod(0o755)
        self.a, self.b = (Libvirtd(self.directory / name, name, user) for name in ("a", "b"))
        self.emulator = self.directory / "qemu"
        self.emulator.write_text(f'#!/bin/sh\ncd "$HOME" && exec {QEMU} "$@"\n')
        self.emulator.chmod(0o755)
        self.a.start()
        self.a.virt.getCapabilities()  # what QEMU can do is found out once, for both
        self.a.virt.getDomainCapabilities(str(self.emulator), "x86_64", "pc", "qemu", 0)
        shutil.copytree(self.a.directory / "cache", self.b.directory / "cache", dirs_exist_ok=True)
        for made in (self.b.directory / "cache").rglob("*"):
            if user is not None:
                os.chown(made, user.pw_uid, user.pw_gid)
        self.b.start()
        self.nodes: dict[str, Hypervisor] = {
            each.name: LibvirtNode(each.name, each.uri, memory_reserved_bytes=0) for each in (self.a, self.b)
        }
        self.store = FsspecArchiveStore(f"file://{self.directory}/archives", key_file=self.directory / "key")
        self.journal = SqliteJournal(self.directory / "journal.sqlite")
        self.hands = Resources(nodes=self.nodes, clock=SystemClock(), journal=self.journal, archives=self.store)
        self._attempts = 0

    def close(self) -> None:
        for node in self.nodes.values():
            node.close()
        self.journal.close()
        for each in (self.a, self.b):
            each.stop()
            each.kill_guests()
        shutil.rmtree(self.directory)

    def definition(
        self, name: str, disks: str, *, devices: str = "", more: str = "", labels: Labels | None = None
    ) -> str:
        """A guest of 16 MiB that boots from its first disk."""
        label = label_of(labels or Labels(priority=Priority.LOW, cold_archive_allowed=True))
        return (
            f"<domain type='qemu'><name>{name}</name>"
            f"<uuid>{uuids.uuid5(uuids.NAMESPACE_URL, name)}</uuid><metadata>{label}</metadata>"
            "<memory unit='MiB'>16</memory><vcpu>1</vcpu>"
            f"<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>{more}"
            f"<devices><emulator>{self.emulator}</emulator>{disks}{devices}</devices></domain>"
        )

    def disk(self, file: str, device: str = "vda", format: str = "raw", *, cdrom: bool = False) -> str:
        kind, bus = ("cdrom", "ide") if cdrom else ("disk", "virtio")
        return (
            f"<disk type='file' device='{kind}'><driver name='qemu' type='{format}'/><source file='{IMAGES}/{file}'/>"
            f"<target dev='{device}' bus='{bus}'/>{'<readonly/>' if cdrom else ''}</disk>"
        )

    def run_guest(self, name: str, xml: str, *, image: str = "", format: str = "raw") -> None:
        """Define it on a, start it, and see it boot."""
        before = self.a.starts(image, format) if image else 0
        self.a.virt.defineXML(xml).create()
        if image:
            until(lambda: self.a.starts(image, format) > before, f"boot of {name}")

    def vm(self, name: str, node: str = "a") -> Vm:
        return next(vm for vm in self.nodes[node].vms() if vm.name == name)

    def attempt(self, kind: ActionKind, name: str, policy: Policy = POLICY) -> Attempt:
        """What lifeboat comes to when it is to move a guest from a, to b where it needs a target."""
        vm = self.vm(name)
        self._attempts += 1
        action = Action(
            kind=kind, vm=vm.uuid, vm_name=name, source="a", reason="a test",
            target=None if kind is ActionKind.COLD_ARCHIVE else "b",
        )  # fmt: skip
        return run_attempt(
            AttemptContext(
                id=f"attempt-{self._attempts}-{name}", evacuation="evac", action=action, vm=vm, policy=policy,
                hands=self.hands, on_progress=lambda _: None,
            )
        )  # fmt: skip

    def running_on(self, name: str) -> list[str]:
        return [each.name for each in (self.a, self.b) if each.runs(name)]

    def known_on(self, name: str) -> list[str]:
        return [each.name for each in (self.a, self.b) if each.knows(name)]

    def clear(self) -> None:
        """No guest, no file, no archive: the next test brings its own."""
        for node in (self.a, self.b):
            node.kill_guests()
            for domain in node.virt.listAllDomains(0):
                with suppress(libvirt.libvirtError):  # gone by itself
                    domain.undefineFlags(_EVERYTHING)
            for file in node.image("").iterdir():
                file.unlink()
        shutil.rmtree(self.directory / "archives", ignore_errors=True)
