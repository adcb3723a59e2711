"""The package's scripts around an upgrade, as dpkg runs them, beside a systemctl that remembers what it was told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "deploy/deb"
STUBS = {
    # The service is active while there is a file that says so.
    "systemctl": """\
echo "$1" >> /run/told
for word in "$@"; do
    case $word in
    is-active) test -e /run/active; exit ;;
    start) test ! -e /run/broken || exit 1; touch /run/active ;;
    stop) rm -f /run/active ;;
    esac
done
""",
    "deb-systemd-invoke": 'exec systemctl "$@"\n',
    "systemd-sysusers": "echo sysusers >> /run/told\n",
    "systemd-tmpfiles": "echo tmpfiles >> /run/told\n",
}
APART = """\
mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /opt || exit 99
mkdir -p /run/systemd/system /opt/lifeboat
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="takes root and namespaces"),
]


def done(folder: Path, *, before: str, steps: str) -> tuple[list[str], str]:
    """What systemctl and the like were told, in order, and `active` or `stopped` at the end, with what the scripts said."""
    for name, body in STUBS.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}")
        (folder / name).chmod(0o755)
    script = f"{APART}{before}\nset -e\n{steps}\nset +e\ncat /run/told 2>/dev/null\necho --\n"
    script += "test -e /run/active && echo active || echo stopped\ntest ! -e /run/lifeboat-upgrade || echo left over\n"
    ran = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script], cwd=SCRIPTS, check=False,
        capture_output=True, text=True, env={"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin"}, timeout=300,
    )  # fmt: skip
    if ran.returncode == 99:
        pytest.skip("no namespace can be made here")
    assert ran.returncode == 0, ran.stderr
    told, _, after = ran.stdout.partition("--\n")
    return told.split(), after + ran.stderr


UPGRADE = "sh ./prerm upgrade 0.1.1; echo files >> /run/told; sh ./postinst configure 0.1.0"


def test_an_agent_that_ran_is_stopped_while_files_change_and_runs_again(tmp_path: Path) -> None:
    told, after = done(tmp_path, before="touch /run/active", steps=UPGRADE)
    assert after == "active\n"
    assert told.index("stop") < told.index("files") < told.index("tmpfiles") < told.index("start")


def test_an_agent_that_did_not_run_is_not_started(tmp_path: Path) -> None:
    told, after = done(tmp_path, before="", steps=UPGRADE)
    assert after == "stopped\n"
    assert "start" not in told
    assert "daemon-reload" in told


def test_one_that_does_not_start_again_is_said_and_the_upgrade_is_whole(tmp_path: Path) -> None:
    _, after = done(tmp_path, before="touch /run/active /run/broken", steps=UPGRADE)
    assert after.startswith("stopped\n")
    assert "it ran before and does not start now: systemctl status lifeboat" in after
    assert "left over" not in after


def test_a_removal_stops_it_and_an_installation_afterwards_starts_nothing(tmp_path: Path) -> None:
    told, after = done(
        tmp_path,
        before="touch /run/active",
        steps="sh ./prerm remove; sh ./postrm remove; sh ./postinst configure",
    )
    assert after == "stopped\n"
    assert "start" not in told


def test_without_systemd_nothing_is_asked_of_it(tmp_path: Path) -> None:
    told, _ = done(tmp_path, before="rmdir /run/systemd/system; touch /run/active", steps=UPGRADE)
    assert not {"is-active", "stop", "start", "daemon-reload"} & set(told)
