"""The systemd unit, the user it runs as and its folders, judged by systemd's own programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "lifeboat.service"
MOST_EXPOSED = 2.0
"""of 10, as `systemd-analyze security` counts"""

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_the_service_is_confined() -> None:
    judged = run("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}", UNIT)
    assert judged.returncode == 0, judged.stdout


def test_systemd_takes_the_unit_without_a_word(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/lifeboat/bin/lifeboat", "/bin/true"))  # which is here
    verified = run("systemd-analyze", "verify", "--man=no", unit)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders to others")
def test_the_user_and_the_folders_are_made_and_secrets_are_roots_alone(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for program, file in (("systemd-sysusers", "sysusers.d"), ("systemd-tmpfiles", "tmpfiles.d")):
        what = ("--create",) if program == "systemd-tmpfiles" else ()
        made = run(program, *what, f"--root={tmp_path}", DEPLOY / file / "lifeboat.conf")
        assert made.returncode == 0, made.stderr
    (line,) = [line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("lifeboat:")]
    _, _, user, group, _, home, shell = line.split(":")
    assert (home, shell) == ("/var/lib/lifeboat", "/usr/sbin/nologin")

    def kept(path: str) -> tuple[int, int, str]:
        status = (tmp_path / path).stat()
        return status.st_uid, status.st_gid, oct(status.st_mode & 0o7777)

    assert kept("etc/lifeboat") == (0, int(group), "0o750")
    assert kept("etc/lifeboat/credentials") == (0, 0, "0o700")
    assert kept("var/lib/lifeboat") == (int(user), int(group), "0o700")
