"""The lab's nodes: where each one is, and how to run something inside it.

A node is three namespaces (network, UTS, mount) with a hostname and private copies of the directories libvirt
writes to. The network namespace is named (`lb-LAB-NODE`, see `ip netns`), the other two are held open by one
`sleep`, the holder. Everything that must be undone after a crash is in the journal before it is made.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab.nodes import processes
from lab.nodes.processes import ProcessRef
from models.errors import BadInput, LabError
from tools.atomic_file import write_atomically

NODE_NAMES = ("node-a", "node-b", "node-c")
DEFAULT_NAME = "default"
HOLDER = "lifeboat-lab-holder"  # in the argv of the processes that keep the namespaces
# what a daemon gets, as from an init: nothing of the session that happened to bring the lab up
_DAEMON_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
}


def labs_dir() -> Path:
    """Where labs live: LIFEBOAT_LABS_DIR, else /var/lib/lifeboat-lab."""
    return Path(os.environ.get("LIFEBOAT_LABS_DIR", "/var/lib/lifeboat-lab"))


def silent(line: str) -> None:
    """A report that nobody reads."""


def lab_root(name: str) -> Path:
    """The lab's own directory. Raises BadInput for a name that can't be part of an interface name."""
    if not re.fullmatch(r"[a-z0-9]{1,8}", name):
        raise BadInput(f"lab name {name!r}: expected 1 to 8 lower-case letters or digits")
    return labs_dir() / name


@dataclass(frozen=True)
class Journal:
    """Append-only record of what exists outside the lab's directory: one JSON object per line, oldest first."""

    path: Path

    def add(self, kind: str, **values: object) -> None:
        line = json.dumps({"kind": kind, **values}) + "\n"
        with self.path.open("a") as file:  # one write: a crash leaves a whole line or a torn last one
            file.write(line)

    def read(self, kind: str) -> list[dict[str, Any]]:
        try:
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return []
        entries: list[dict[str, Any]] = []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a torn last line: what it announced was not made
            if entry.get("kind") == kind:
                entries.append(entry)
        return entries

    def machine(self) -> str:
        """The machine's boot id when the lab was made: after a restart, pids and namespaces mean nothing any more."""
        entries = self.read("machine")
        return entries[0]["boot_id"] if entries else ""

    def processes(self, node: str | None = None) -> list[ProcessRef]:
        """Recorded processes of one node ("" is the root namespace), or of all."""
        return [
            ProcessRef(entry["pid"], entry["start"])
            for entry in self.read("process")
            if node is None or entry["node"] == node
        ]


def machine_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_recorded(
    journal: Journal, node: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
) -> ProcessRef:
    """Start a daemon that is in the journal before it runs. Raises LabError when the lab is being taken down."""

    def record(ref: ProcessRef) -> None:
        journal.add("process", node=node, pid=ref.pid, start=ref.start, argv=list(argv))
        # In this order: whoever takes the lab down announces it before reading the processes, so either they see
        # this one or it sees them.
        if journal.read("closing"):
            raise LabError("the lab is being taken down")

    log.parent.mkdir(parents=True, exist_ok=True)
    return processes.start(argv, log=log, env=_DAEMON_ENVIRONMENT if env is None else env, record=record)


@dataclass(frozen=True, kw_only=True)
class LabNode:
    """One node. `address` is its IPv4 address on the lab's bridge, `run_dir` holds its state, sockets and logs."""

    name: str
    address: str
    run_dir: Path
    netns: str
    holder: ProcessRef | None
    journal: Journal

    @property
    def namespace(self) -> Path:
        return Path("/run/netns") / self.netns

    def alive(self) -> bool:
        """Whether the node is "powered": its namespaces exist. Says nothing about its libvirtd."""
        return self.holder is not None and self.holder.alive()

    def command(self, *argv: str) -> list[str]:
        """The argv that runs this inside the node's namespaces. Raises LabError when the node is dead."""
        if self.holder is None or not self.holder.alive():
            raise LabError(f"{self.name} is not running", hint="it was killed; `lifeboat lab down`, then `up`")
        ns = f"/proc/{self.holder.pid}/ns"
        return [
            "nsenter", f"--net={self.namespace}", f"--uts={ns}/uts", f"--mount={ns}/mnt", "--wd=/", "--", *argv,
        ]  # fmt: skip

    def run(
        self, *argv: str, timeout: float = 30, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside the node and wait for it. Raises LabError with its message when it fails."""
        return run(self.command(*argv), timeout=timeout, check=check, where=self.name, stdin=stdin)

    def spawn(self, argv: Sequence[str], *, log: str, env: Mapping[str, str] | None = None) -> int:
        """Start a daemon inside the node; output to run_dir/LOG. Returns its pid."""
        return start_recorded(self.journal, self.name, self.command(*argv), log=self.run_dir / log, env=env).pid

    def processes(self) -> list[ProcessRef]:
        """What runs in the node now (recorded or not: guests are libvirtd's children), without the holder."""
        return [ref for ref in processes.in_network_namespace(self.namespace) if ref != self.holder]

    def kill_daemons(self, *, holder: bool = False, seconds: float = 10) -> None:
        """Kill -9 everything the node runs, guests too; with `holder` also what keeps its namespaces.

        Raises LabError when something survives `seconds`."""
        deadline = time.monotonic() + seconds
        while True:  # again: something may have forked between the scan and the signal
            targets = self.processes() + ([self.holder] if holder and self.holder and self.holder.alive() else [])
            if not targets:
                return
            for ref in targets:
                ref.kill()
            processes.wait_gone(targets, 2)
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: pids {[t.pid for t in targets]} do not die", hint="see ps for state D")


@dataclass
class Lab:
    """A lab that is up, or coming up. `gateway` is the address of the lab's network in the root namespace."""

    name: str
    root: Path
    index: int
    nodes: dict[str, LabNode] = field(default_factory=dict[str, LabNode])

    @property
    def subnet(self) -> str:
        return f"10.77.{self.index}.0/24"

    @property
    def gateway(self) -> str:
        return self.host_address(1)

    @property
    def link(self) -> str:
        """The lab's one interface in the root namespace."""
        return f"lb-{self.name}"

    @property
    def journal(self) -> Journal:
        return Journal(self.root / "journal.jsonl")

    @property
    def config_path(self) -> Path:
        """The lifeboat.yaml that points lifeboat at this lab."""
        return self.root / "lifeboat.yaml"

    def host_address(self, host: int) -> str:
        return f"10.77.{self.index}.{host}"

    def spawn(self, argv: Sequence[str], *, log: str, env: Mapping[str, str] | None = None) -> int:
        """Start a daemon in the root namespace; output to root/LOG. Returns its pid."""
        return start_recorded(self.journal, "", argv, log=self.root / log, env=env).pid

    def node(self, name: str) -> LabNode:
        """Raises BadInput when there is no such node."""
        if name not in self.nodes:
            raise BadInput(f"no node {name!r} in lab {self.name!r}: expected one of {', '.join(self.nodes)}")
        return self.nodes[name]

    def save(self) -> None:
        """Write what load() reads. The lab counts as up only when the journal says so."""
        text = json.dumps(
            {
                "name": self.name,
                "index": self.index,
                "nodes": [
                    {
                        "name": node.name,
                        "address": node.address,
                        "netns": node.netns,
                        "holder": asdict(node.holder) if node.holder else None,
                    }
                    for node in self.nodes.values()
                ],
            },
            indent=1,
        )
        write_atomically(self.root / "lab.json", text, mode=None)

    @classmethod
    def load(cls, name: str = DEFAULT_NAME, *, partial: bool = False) -> Lab:
        """The lab of this name. Raises LabError when it is not up; `partial` accepts one that came up half way."""
        root = lab_root(name)
        try:
            data = json.loads((root / "lab.json").read_text())
        except FileNotFoundError:
            raise LabError(f"lab {name!r} is not up", hint=f"run `lifeboat lab up{_option(name)}`") from None
        lab = cls(name=name, root=root, index=data["index"])
        if not partial and not (lab.journal.read("up") and lab.journal.machine() == machine_boot_id()):
            raise LabError(
                f"lab {name!r} is not whole: it came up half way, or the machine was restarted",
                hint=f"run `lifeboat lab down{_option(name)}`",
            )
        for entry in data["nodes"]:
            holder = ProcessRef(**entry["holder"]) if entry["holder"] else None
            lab.nodes[entry["name"]] = lab.make_node(entry["name"], entry["address"], entry["netns"], holder)
        return lab

    def make_node(self, name: str, address: str, netns: str, holder: ProcessRef | None) -> LabNode:
        return LabNode(
            name=name,
            address=address,
            run_dir=self.root / "nodes" / name,
            netns=netns,
            holder=holder,
            journal=self.journal,
        )

    @staticmethod
    @contextmanager
    def lock(
        name: str = DEFAULT_NAME,
        *,
        seconds: float = 120,
        report: Callable[[str], None] = silent,
        create: bool = True,
    ) -> Generator[Path]:
        """Hold the lab's directory for oneself (flock, gone with the process); yields it.

        Waits for another command on the same lab at most `seconds`, then raises LabError."""
        root = lab_root(name)
        deadline = time.monotonic() + seconds
        reported = False
        while True:
            if create:
                root.mkdir(parents=True, exist_ok=True)
            fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if root.exists() and os.path.samestat(os.fstat(fd), root.stat()):
                    break
                os.close(fd)  # the lab was taken down while we waited; this is the deleted directory
                continue
            except BlockingIOError:
                os.close(fd)
            if not reported:
                report(f"waiting for another command on lab {name!r} to end")
                reported = True
            if time.monotonic() > deadline:
                raise LabError(f"another command has held lab {name!r} for {seconds:.0f} s", hint="see `ps`")
            time.sleep(0.1)
        try:
            yield root
        finally:
            os.close(fd)


def _option(name: str) -> str:
    return "" if name == DEFAULT_NAME else f" --name {name}"


_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
aborted = threading.Event()
"""Set while a failed or interrupted `up` is undone: every wait_until ends at once."""


def run(
    argv: Sequence[str], *, timeout: float = 30, check: bool = True, where: str = "lab", stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Raises LabError with its own words when it fails, is missing or takes too long."""
    shown = " ".join(argv[argv.index("--") + 1 :] if "--" in argv else argv)
    shown = shown if len(shown) <= 120 else f"{shown[:117]}..."
    try:
        # the command must not outlive a killed `lab up`, or it would write into a lab that is taken down
        done = subprocess.run(
            [*_DIE_WITH_US, *argv], capture_output=True, text=True, timeout=timeout, check=False, input=stdin
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{where}: `{shown}` took more than {timeout:.0f} s") from None
    if done.returncode == 127 and not shutil.which(argv[0]):
        raise LabError(f"{where}: {argv[0]} is not installed", hint="`./dev demo` as root installs what is missing")
    if check and done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise LabError(f"{where}: `{shown}` failed: {' / '.join(words[-3:])}")
    return done


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str, every: float = 0.05) -> None:
    """Wait for a condition. Raises LabError naming what did not happen after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if aborted.is_set():
            raise LabError(f"{what}: given up, the lab is being taken down")
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)
