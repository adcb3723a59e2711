"""Two real libvirtds, each a machine's own (root, `/system`), that ask a real polkitd for each call, and the users whom it knows.

All of it in mount namespaces of its own: the machine's users, its polkit, its D-Bus and its libvirt see nothing of it. Two doors:
node a asks polkit who may connect at all, as Debian's libvirtd does; node b lets everybody connect, so that only what is asked
for each call stands between a user and the guests.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid as uuids
from contextlib import suppress
from pathlib import Path
from typing import Any

import libvirt
from scenes.two_libvirtds import QEMU, boot_disk, label_of, until

from models.fleet import Priority
from tools.domain.labels import Labels

READS, ACTS = "lifeboat-read", "lifeboat"
USERS = {READS: 64001, ACTS: 64002}
_RULES = Path(__file__).parents[2] / "deploy/polkit/60-lifeboat.rules"
_POLKITD = Path("/usr/lib/polkit-1/polkitd")
_SECONDS = 60.0
_PRIVATE = {
    "run": "/run/libvirt", "lib": "/var/lib/libvirt", "log": "/var/log/libvirt", "cache": "/var/cache/libvirt",
    "etc": "/etc/libvirt", "images": "/srv",
}  # fmt: skip
"""what each node has for itself, and where it sees it"""

_BUS = """\
<busconfig><type>system</type><listen>unix:path={bus}</listen><auth>EXTERNAL</auth><policy context="default"><allow user="*"/>
<allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/><allow receive_type="method_call"/>
<allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/></policy></busconfig>
"""
_LIBVIRTD = """\
host_uuid = "{uuid}"
unix_sock_ro_perms = "0777"
unix_sock_rw_perms = "0777"
auth_unix_ro = "{door}"
auth_unix_rw = "{door}"
access_drivers = [ "polkit" ]
log_outputs = "2:stderr"
"""
_QEMU = """\
namespaces = []
cgroup_controllers = []
remember_owner = 0
dynamic_ownership = 0
security_driver = "none"
stdio_handler = "file"
user = "root"
group = "root"
"""
_NODE = """\
set -e
hostname "$1"; shift
while [ "$1" != -- ]; do [ -e "$2" ] || mkdir -p "$2"; mount --bind "$1" "$2"; shift 2; done
shift
for emulator in /usr/bin/qemu-system-*; do
  [ "$emulator" = /usr/bin/qemu-system-x86_64 ] || mount --bind /dev/null "$emulator"
done
exec "$@"
"""
"""in its own namespaces: what it sees where, then the daemon. Probing emulators that no guest uses would take seconds each"""


def missing() -> str | None:
    """What this machine lacks for it; None: nothing."""
    if os.geteuid() != 0:
        return "needs root"
    programs = [name for name in ("libvirtd", "dbus-daemon", "unshare", "setpriv", QEMU) if shutil.which(name) is None]
    return f"needs {', '.join(programs)}" if programs else None if _POLKITD.exists() else "needs polkitd"


class PolkitNodes:
    """Nodes a and b, up."""

    def __init__(self) -> None:
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="lifeboat-p-", dir=base))  # short: a socket's path has 107 bytes
        self.directory.chmod(0o755)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._virt: dict[str, libvirt.virConnect] = {}
        try:
            self._start_polkit()
            self._start_node("a", door="polkit")
            self.virt("a").getDomainCapabilities(QEMU, "x86_64", "pc", "qemu", 0)  # found out once, for both
            shutil.copytree(self.directory / "a/cache", self.directory / "b/cache", dirs_exist_ok=True)
            self._start_node("b", door="none")
        except BaseException:
            self.close()
            raise

    def _spawn(self, name: str, argv: list[str | Path], *mounts: tuple[Path, str]) -> None:
        seen = [part for where, at in mounts for part in (where, at)]
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    ["unshare", "--mount", "--uts", "--propagation", "private", "setpriv", "--pdeathsig", "KILL",
                     "sh", "-c", _NODE, "sh", f"lifeboat-{name}", *seen, "--", *argv],
                    stderr=log, stdout=log, start_new_session=True,
                    env={"PATH": os.environ["PATH"], "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.directory}/bus"},
                )
            )  # fmt: skip

    def _start_polkit(self) -> None:
        rules, names = self.directory / "rules.d", []
        rules.mkdir(mode=0o755)
        shutil.copy(_RULES, rules)
        for file, line in (("passwd", "{name}:x:{id}:{id}::/nonexistent:/bin/sh\n"), ("group", "{name}:x:{id}:\n")):
            known = Path("/etc", file).read_text()
            copy = self.directory / file
            copy.write_text(known + "".join(line.format(name=name, id=number) for name, number in USERS.items()))
            names.append((copy, f"/etc/{file}"))
        self._names: list[tuple[Path, str]] = names
        configuration = self.directory / "bus.conf"
        configuration.write_text(_BUS.format(bus=self.directory / "bus"))
        self._spawn("bus", ["dbus-daemon", f"--config-file={configuration}", "--nofork", "--nopidfile"])
        until((self.directory / "bus").exists, "D-Bus")
        self._spawn("polkitd", [_POLKITD], *names, (rules, "/etc/polkit-1/rules.d"))
        log = self.directory / "polkitd.log"
        until(lambda: b"Acquired the name" in log.read_bytes(), "polkitd")

    def _start_node(self, name: str, *, door: str) -> None:
        directory = self.directory / name
        for each in _PRIVATE:
            (directory / each).mkdir(parents=True, exist_ok=True)
        identity = uuids.uuid5(uuids.NAMESPACE_URL, f"lifeboat/polkit/{name}")
        (directory / "etc/libvirtd.conf").write_text(_LIBVIRTD.format(uuid=identity, door=door))
        (directory / "etc/qemu.conf").write_text(_QEMU)
        places = [(directory / each, at) for each, at in _PRIVATE.items()]
        self._spawn(name, ["libvirtd", "--pid-file", directory / "libvirtd.pid"], *self._names, *places)

        def answers() -> bool:
            assert self._processes[-1].poll() is None, (self.directory / f"{name}.log").read_text()
            if (directory / "run/libvirt-sock").exists():
                with suppress(libvirt.libvirtError):
                    self._virt[name] = libvirt.open(self.uri(name))
            return name in self._virt

        until(answers, f"libvirtd {name}")
        self.virt(name).storagePoolCreateXML(
            "<pool type='dir'><name>images</name><target><path>/srv</path></target></pool>", 0
        )

    def uri(self, name: str, *, read_only: bool = False) -> str:
        """How this machine's users reach the node."""
        return f"qemu+unix:///system?socket={self.directory}/{name}/run/libvirt-sock{'-ro' if read_only else ''}"

    def virt(self, name: str) -> libvirt.virConnect:
        """Root's own way in, whom polkit lets do everything."""
        return self._virt[name]

    def run_guest(self, name: str, *, node: str = "a") -> None:
        """A guest of 16 MiB that runs, with a screen that has a password."""
        (self.directory / node / "images" / f"{name}.raw").write_bytes(boot_disk())
        label = label_of(Labels(priority=Priority.LOW, cold_archive_allowed=True))
        self.virt(node).defineXML(
            f"<domain type='qemu'><name>{name}</name><metadata>{label}</metadata><memory unit='MiB'>16</memory><vcpu>1</vcpu>"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>"
            f"<emulator>{QEMU}</emulator><disk type='file' device='disk'><driver name='qemu' type='raw'/>"
            f"<source file='/srv/{name}.raw'/><target dev='vda' bus='virtio'/></disk>"
            "<graphics type='vnc' passwd='secret'/></devices></domain>"
        ).create()

    def put_disk(self, name: str, *, node: str) -> None:
        """A disk of 4 KiB that no guest has, which libvirt knows."""
        (self.directory / node / "images" / name).write_bytes(bytes(4096))
        self.virt(node).storagePoolLookupByName("images").refresh(0)

    def state(self, name: str) -> dict[str, bool]:
        """Where the guest is known, and whether it runs there."""
        return {
            node: domain.isActive() == 1
            for node in ("a", "b")
            for domain in self.virt(node).listAllDomains(0)
            if domain.name() == name
        }

    def as_user(self, user: str, *parts: str, **given: str) -> Any:
        """What `scenes.polkit_user` finds, run by this user. It may read every file, as the tests may that it is part of."""
        number = str(USERS[user])
        home = self.directory / f"home-{user}"
        home.mkdir(exist_ok=True)
        os.chown(home, USERS[user], USERS[user])
        done = subprocess.run(
            ["setpriv", "--reuid", number, "--regid", number, "--clear-groups", "--inh-caps=-all,+dac_read_search",
             "--ambient-caps=-all,+dac_read_search", sys.executable, "-m", "scenes.polkit_user", ",".join(parts),
             json.dumps({**given, "home": str(home), "a": self.uri("a"), "b": self.uri("b")})],
            capture_output=True, text=True, check=False, timeout=_SECONDS * 2, cwd="/",
            env={**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def close(self) -> None:
        for connection in self._virt.values():
            connection.close()
        for process in self._processes:
            process.kill()  # nothing of theirs stays
        for pid in self.directory.glob("*/run/qemu/*.pid"):
            if pid.name != "driver.pid":  # libvirtd's own
                with suppress(ValueError, ProcessLookupError):
                    os.kill(int(pid.read_text()), signal.SIGKILL)
        for process in self._processes:
            process.wait(_SECONDS)
        shutil.rmtree(self.directory)
