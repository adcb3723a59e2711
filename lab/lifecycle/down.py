"""Taking the lab down: everything the journal names, whatever state `lab up` left it in, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab.nodes import processes
from lab.nodes.node import DEFAULT_NAME, Journal, Lab, lab_root, machine_boot_id, run, silent
from models.errors import LabError

_NETNS_DIR = Path("/run/netns")


def down(name: str = DEFAULT_NAME, report: Callable[[str], None] = silent) -> bool:
    """Remove the lab, also one that came up half way. False when there was none. Raises LabError when something stays.

    Waits for another command on the same lab to end first."""
    if not lab_root(name).exists():
        return False
    try:
        with Lab.lock(name, report=report, create=False) as root:
            remove(root, report)
    except FileNotFoundError:  # another `lab down` was faster
        return False
    return True


def remove(root: Path, report: Callable[[str], None]) -> None:
    """The work of down(); the caller holds the lock."""
    journal = Journal(root / "journal.jsonl")
    if not journal.path.exists() and any(root.iterdir()):
        raise LabError(f"{root} is not a lab: it has no journal", hint="nothing was removed; check what it is")
    if journal.machine() == machine_boot_id():  # else the machine was restarted, and only files are left
        report("stopping guests and daemons")
        stop(journal)
        report("removing namespaces and links")
        _remove_network(journal)
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inside = [mount for mount in mounts if mount.startswith(f"{root}/")]
    if inside:  # the lab makes none here; deleting through one would delete what is behind it
        raise LabError(f"{', '.join(inside)} is mounted inside the lab's directory", hint="unmount it, then again")
    report("removing files")
    journal.path.touch()
    for entry in root.iterdir():
        if entry != journal.path:  # last: until it is gone, a crash here can be carried on from
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    journal.path.unlink()
    root.rmdir()
    with suppress(OSError):
        root.parent.rmdir()  # other labs are in it


def stop(journal: Journal) -> None:
    """Kill all recorded processes and whatever lives in the lab's network namespaces (guests, and what they forked)."""
    journal.add("closing")  # from here on no new daemon starts
    for _ in range(50):
        targets = {ref for ref in journal.processes() if ref.alive()}
        for entry in journal.read("netns"):
            targets |= set(processes.in_network_namespace(_NETNS_DIR / entry["name"]))
        if not targets:
            return
        for ref in targets:
            ref.kill()
        processes.wait_gone(targets, 2)
    raise LabError("some of the lab's processes do not die", hint="see `ps` for state D; then `lab down` again")


def _remove_network(journal: Journal) -> None:
    for entry in journal.read("link"):
        if Path("/sys/class/net", entry["name"]).exists():
            run(["ip", "link", "del", entry["name"]])
    for entry in journal.read("netns"):
        if (_NETNS_DIR / entry["name"]).exists():
            run(["ip", "netns", "del", entry["name"]])
    if journal.read("netns-dir") and _NETNS_DIR.exists() and not any(_NETNS_DIR.iterdir()):
        run(["umount", str(_NETNS_DIR)], check=False)
        with suppress(OSError):
            _NETNS_DIR.rmdir()
