"""deploy/polkit/60-lifeboat.rules, run as the JavaScript that it is, for each action that libvirt may ask about."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

RULES = Path(__file__).parents[2] / "deploy/polkit/60-lifeboat.rules"
READS = (
    "connect.getattr", "connect.read", "connect.search-domains", "connect.search-storage-pools", "domain.getattr",
    "domain.read", "storage-pool.getattr", "storage-pool.read", "storage-vol.read", "network.read", "node-device.read",
    "secret.getattr",
)  # fmt: skip
ACTS = (
    "connect.write", "domain.write", "domain.save", "domain.delete", "domain.start", "domain.stop", "domain.init-control",
    "domain.suspend", "domain.migrate", "domain.read-secure", "domain.snapshot", "domain.checkpoint",
    "storage-pool.refresh", "storage-vol.create", "storage-vol.data-read", "storage-vol.data-write", "storage-vol.delete",
    "storage-vol.format",
)  # fmt: skip
NEVER = (
    "domain.open-graphics", "domain.open-device", "domain.send-input", "domain.screenshot", "domain.core-dump",
    "domain.mem-read", "domain.set-password", "domain.open-namespace", "domain.inject-nmi", "network.write",
    "network.delete", "secret.read-secure", "secret.write", "node-device.detach", "interface.write", "nwfilter.write",
    "connect.pm-control", "storage-pool.delete", "storage-pool.format", "secret.read",
)  # fmt: skip
PROGRAM = """
let rule;
globalThis.polkit = {Result: {YES: "yes", NO: "no", NOT_HANDLED: null}, addRule: (given) => { rule = given; }};
eval(require("fs").readFileSync(process.argv[1], "utf8"));
const asked = JSON.parse(process.argv[2]);
console.log(JSON.stringify(asked.map(([user, id]) => rule({id: id, lookup: () => ""}, {user: user, isInGroup: () => false}))));
"""


def answers(user: str, actions: list[str]) -> dict[str, str | None]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node to run JavaScript")
    asked = json.dumps([(user, each) for each in actions])
    said = subprocess.run([node, "-e", PROGRAM, str(RULES), asked], capture_output=True, text=True, check=True).stdout
    return dict(zip(actions, json.loads(said), strict=True))


def of_libvirt(*groups: tuple[str, ...]) -> list[str]:
    return [f"org.libvirt.api.{each}" for group in groups for each in group]


def test_who_looks_may_read_and_nothing_else() -> None:
    found = answers(
        "lifeboat-read", [*of_libvirt(READS, ACTS, NEVER), "org.libvirt.unix.monitor", "org.libvirt.unix.manage"]
    )
    allowed = {action for action, answer in found.items() if answer == "yes"}
    assert allowed == {*of_libvirt(READS), "org.libvirt.unix.monitor"}
    assert set(found.values()) == {"yes", "no"}


def test_who_acts_may_move_archive_and_restore_guests_and_touches_nothing_else() -> None:
    found = answers(
        "lifeboat", [*of_libvirt(READS, ACTS, NEVER), "org.libvirt.unix.monitor", "org.libvirt.unix.manage"]
    )
    refused = {action for action, answer in found.items() if answer == "no"}
    assert refused == set(of_libvirt(NEVER))


def test_nobody_elses_rights_are_changed_and_no_other_programs() -> None:
    assert set(answers("ana", of_libvirt(READS, ACTS, NEVER)).values()) == {None}
    assert set(answers("lifeboat", ["org.freedesktop.systemd1.manage-units"]).values()) == {None}
