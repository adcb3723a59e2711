"""Whether this machine can carry the lab, and if not, what is missing: one line each."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.nodes.initramfs import BUSYBOX, find_kernel
from lab.nodes.node import labs_dir

# program → Debian package
_PROGRAMS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "hostname": "hostname",
    "libvirtd": "libvirt-daemon",
    "virsh": "libvirt-clients",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "qemu-storage-daemon": "qemu-system-common",
    "cc": "gcc libc6-dev",
    "ipmi_sim": "openipmi",
    "ipmitool": "ipmitool",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "prometheus-libvirt-exporter": "prometheus-libvirt-exporter",
    "prometheus-ipmi-exporter": "prometheus-ipmi-exporter",
}
_MEMORY_BYTES = 4 << 30
_DISK_BYTES = 3 << 30


@dataclass(frozen=True)
class Missing:
    """One thing the lab needs and this machine lacks. `fix` is what to do about it; empty when nothing helps here."""

    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.what} — {self.fix}" if self.fix else self.what


def preflight() -> list[Missing]:
    """Everything that is missing, the most fundamental first; empty when the lab can come up. Changes nothing."""
    if os.uname().sysname != "Linux":
        return [Missing("Linux: the lab is made of namespaces")]
    if os.uname().machine != "x86_64":
        return [Missing(f"an x86_64 machine, found {os.uname().machine}: the lab's guests are x86_64")]
    if os.geteuid() != 0:
        return [Missing("root: the lab makes namespaces, links and a libvirtd per node", "run it with sudo")]
    missing: list[Missing] = []
    packages = sorted({package for program, package in _PROGRAMS.items() if not shutil.which(program)})
    if packages:
        missing.append(Missing(f"programs of {', '.join(packages)}", f"apt-get install {' '.join(packages)}"))
    if not BUSYBOX.exists() or b"statically linked" not in _file_kind(BUSYBOX):
        missing.append(Missing("a static busybox", "apt-get install busybox-static"))
    if find_kernel() is None:
        missing.append(Missing("a kernel with its modules in /boot", "apt-get install linux-image-cloud-amd64"))
    if not missing or shutil.which("unshare"):
        missing += _namespaces()
    missing += _room()
    return missing


def _file_kind(program: Path) -> bytes:
    """b"statically linked" when it has no program interpreter (PT_INTERP): it can run in an empty initramfs."""
    return b"dynamic" if b"/ld-linux" in program.read_bytes()[:65536] else b"statically linked"


def _namespaces() -> list[Missing]:
    """Make and leave one of each kind of namespace, with the links and mounts the lab uses inside."""
    script = (
        "ip link add br0 type bridge && ip link add v0 type veth peer name v1 && ip tuntap add t0 mode tap "
        "&& mount -t sysfs sysfs /sys"
    )
    done = subprocess.run(
        ["unshare", "--net", "--uts", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return []
    words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return [
        Missing(
            f"namespaces with bridge, veth and tap: {words}", "run on a machine or in a container with CAP_SYS_ADMIN"
        )
    ]


def _room() -> list[Missing]:
    missing: list[Missing] = []
    available = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable:")
    )
    if available < _MEMORY_BYTES:
        missing.append(Missing(f"memory: 4 GiB available, found {available / (1 << 30):.1f} GiB"))
    where = labs_dir()
    while not where.exists():
        where = where.parent
    free = shutil.disk_usage(where).free
    if free < _DISK_BYTES:
        missing.append(
            Missing(f"disk: 3 GiB free in {where}, found {free / (1 << 30):.1f} GiB", "set LIFEBOAT_LABS_DIR")
        )
    try:
        with tempfile.NamedTemporaryFile(dir=where) as file:
            os.close(os.open(file.name, os.O_RDWR | os.O_DIRECT))
    except OSError as error:
        missing.append(
            Missing(f"direct I/O in {where} ({error.strerror}): guests use cache=none", "set LIFEBOAT_LABS_DIR")
        )
    return missing
