"""A lab that was cut off while coming up, and one whose node dies. Each test brings a lab of its own and removes it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lifecycle.down import down
from lab.lifecycle.status import status
from lab.lifecycle.up import up
from lab.nodes import guests, power
from lab.nodes.guests import GUESTS
from lab.nodes.node import Lab, lab_root, run
from models.errors import LabError

pytestmark = pytest.mark.lab
NAME = "crash"


@pytest.fixture(autouse=True)
def _no_lab_before_or_after(can_have_lab: None) -> Iterator[None]:
    down(NAME)
    yield
    down(NAME)


def _left_behind() -> list[str]:
    """All that a lab could leave on this machine."""
    processes = [
        f"{entry.name}: {command}"
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and f"/{NAME}/" in (command := _command(entry))
    ]
    links = [line for line in run(["ip", "-br", "link"]).stdout.splitlines() if f"lb-{NAME}" in line]
    namespaces = [line for line in run(["ip", "netns"]).stdout.splitlines() if f"lb-{NAME}" in line]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if NAME in line]
    files = [str(lab_root(NAME))] if lab_root(NAME).exists() else []
    return processes + links + namespaces + mounts + files


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _start_up() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lab", "up", "--bare", "--name", NAME]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _read_until(process: subprocess.Popen[str], words: str) -> list[str]:
    assert process.stdout
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError("".join(lines))


@pytest.mark.parametrize("moment", ["3 nodes", "libvirtd with TLS", "guests started"])
def test_down_removes_what_a_killed_up_left(moment: str):
    with _start_up() as process:
        _read_until(process, moment)
        process.kill()
    with pytest.raises(LabError, match="lab down"):
        up(NAME)  # it repairs nothing silently
    assert down(NAME)
    assert _left_behind() == []


def test_ctrl_c_while_coming_up_leaves_nothing():
    with _start_up() as process:
        _read_until(process, "libvirtd with TLS")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert _left_behind() == []


def test_a_dead_node_is_silent_and_takes_its_guests_along_and_down_still_removes_all():
    lab = up(NAME, bare=True)
    power.kill_node(lab, "node-a")

    with pytest.raises(LabError, match=r"unable to connect|timed out|took more than"):
        guests.where(lab, "node-a")
    assert lab.node("node-a").processes() == []
    with pytest.raises(LabError, match="not running"):
        lab.node("node-a").command("true")
    seen = status(NAME)
    assert {node.name: node.state for node in seen.nodes} == {"node-a": "dead", "node-b": "up", "node-c": "up"}
    assert {vm.name for vm in seen.vms if vm.answers} == {g.name for g in GUESTS if g.node != "node-a"}
    power.kill_node(lab, "node-a")  # it can't die twice
    assert down(NAME)
    assert _left_behind() == []


def test_down_refuses_a_directory_that_is_no_lab():
    lab_root(NAME).mkdir(parents=True)
    keep = lab_root(NAME) / "someone-elses"
    keep.touch()
    try:
        with pytest.raises(LabError, match="not a lab"):
            down(NAME)
        assert keep.exists()
    finally:
        keep.unlink()
        lab_root(NAME).rmdir()


def test_up_refuses_a_namespace_it_did_not_make():
    run(["ip", "netns", "add", f"lb-{NAME}-node-b"])
    try:
        with pytest.raises(LabError, match="was not made by this lab"):
            up(NAME, bare=True)
        assert f"lb-{NAME}-node-b" in run(["ip", "netns"]).stdout
    finally:
        run(["ip", "netns", "del", f"lb-{NAME}-node-b"])


def test_a_lab_that_is_not_up_has_no_status():
    with pytest.raises(LabError, match="not up"):
        Lab.load(NAME)
