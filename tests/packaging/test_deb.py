"""The .deb, installed by dpkg into a copy of this system that is gone afterwards: namespaces of its own, no network.

What it carries is a smaller environment than the real one's (nothing of OR-tools and polars), for the time that packing takes;
the scripts, files and folders are the real ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = [
    "ortools",
    "pandas",
    "polars",
    "polars-runtime-32",
    "sqlalchemy",
    "dbos",
    "psycopg-binary",
    "regex",
    "zstandard",
    "cryptography",
    "greenlet",
    "prometheus-client",
    "fsspec",
    "pytz",
    "dateparser",
    "jinja2",
    "immutabledict",
    "protobuf",
    "requests",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("dpkg-deb") is None, reason="takes root and dpkg"),
]

_ENTER = """\
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/run"
mkdir "$1/root/packages"
mount --bind "$2" "$1/root/packages"
exec chroot "$1/root" /bin/sh
"""


class System:
    """A copy of this system: a shell in it that lives as long as the test, and whatever it changes goes with it."""

    def __init__(self, place: Path, packages: Path) -> None:
        command = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
        ]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}
        self._shell = subprocess.Popen(
            [*command, _ENTER, "enter", str(place), str(packages)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip

    def __call__(self, command: str) -> tuple[int, str]:
        """Exit code and what was said."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"( {command}\n) < /dev/null; code=$?; echo; echo ended: $code\n")
        self._shell.stdin.flush()
        said: list[str] = []
        for line in self._shell.stdout:
            if line.startswith("ended: "):
                return int(line.split()[1]), "".join(said).strip()
            said.append(line)
        raise AssertionError(f"the copy could not be made: {''.join(said)}")

    def does(self, command: str) -> str:
        code, said = self(command)
        assert code == 0, f"{command}: {said}"
        return said

    def close(self) -> None:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.close()
        self._shell.wait(30)
        self._shell.stdout.close()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lifeboat 0.1.0 and 0.1.1, as packages."""
    uv = shutil.which("uv") or str(ROOT / ".tools" / "uv" / "bin" / "uv")
    if not Path(uv).exists():
        pytest.skip("uv is not at hand: ./dev brings it")
    folder = tmp_path_factory.mktemp("deb")
    venv = folder / "venv"
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": str(venv)}

    def run(*command: str) -> None:
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr

    run(uv, "venv", "--quiet", "--relocatable", "--python", "/usr/bin/python3", str(venv))
    left_out = [option for name in LEFT_OUT for option in ("--no-install-package", name)]
    run(uv, "sync", "--quiet", "--frozen", "--offline", "--no-dev", "--no-editable", *left_out)
    run("deploy/deb/build", "--payload", str(venv), "--fast", "--version", "0.1.0", "--out", str(folder / "packages"))
    (package,) = (folder / "packages").iterdir()
    run("dpkg-deb", "--raw-extract", str(package), str(folder / "next"))
    control = folder / "next" / "DEBIAN" / "control"
    control.write_text(control.read_text().replace("Version: 0.1.0", "Version: 0.1.1"))
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", str(folder / "next"), str(folder / "packages"))
    shutil.rmtree(folder / "next")
    shutil.rmtree(venv)
    return folder / "packages"


@pytest.fixture
def system(packages: Path, tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path, packages)
    code, said = system("true")
    if code != 0:
        pytest.skip(f"no copy of this system can be made here: {said}")
    yield system
    system.close()


def test_it_is_installed_upgraded_removed_and_purged(system: System) -> None:
    system("rm -rf /etc/lifeboat /var/lib/lifeboat")
    said = system.does("dpkg --force-unsafe-io --install /packages/lifeboat_0.1.0_*.deb")
    assert "lifeboat init -o /etc/lifeboat/lifeboat.yaml" in said
    assert "assess" in system.does("lifeboat --help")
    system.does(
        "cp /usr/share/doc/lifeboat/examples/lifeboat.yaml /usr/share/doc/lifeboat/examples/policy.yaml /etc/lifeboat"
    )
    checked = "lifeboat config check --config /etc/lifeboat/lifeboat.yaml --policy /etc/lifeboat/policy.yaml"
    # As the user the service runs as: it reads its settings and has no way to the secrets.
    as_service = "setpriv --reuid lifeboat --regid lifeboat --clear-groups"
    assert "ok  policy" in system.does(f"cd / && {as_service} {checked}")
    assert system(f"{as_service} ls /etc/lifeboat/credentials")[0] != 0
    system.does(f"{as_service} touch /var/lib/lifeboat/journal.sqlite")
    assert system(f"{as_service} touch /opt/lifeboat/x")[0] != 0
    system.does("systemd-analyze verify --man=no /usr/lib/systemd/system/lifeboat.service")
    system.does("man --warnings -E UTF-8 lifeboat-plan | grep -q SYNOPSIS")
    system.does("bash -c '. /usr/share/bash-completion/completions/lifeboat'")
    system.does(
        "test -s /usr/share/zsh/vendor-completions/_lifeboat -a -s /usr/share/fish/vendor_completions.d/lifeboat.fish"
    )
    assert system.does("dpkg --verify lifeboat") == ""

    system.does("echo LIFEBOAT_INTERVAL=45s > /etc/default/lifeboat")
    said = system.does("dpkg --force-unsafe-io --install /packages/lifeboat_0.1.1_*.deb")
    assert "lifeboat init" not in said
    assert system.does("cat /etc/default/lifeboat") == "LIFEBOAT_INTERVAL=45s"
    system.does(f"test -e /var/lib/lifeboat/journal.sqlite && cd / && {checked}")

    system.does("dpkg --remove lifeboat")
    assert system("ls /opt/lifeboat /usr/bin/lifeboat")[0] != 0
    system.does(
        "test -e /var/lib/lifeboat/journal.sqlite -a -e /etc/lifeboat/lifeboat.yaml -a -e /etc/default/lifeboat"
    )

    said = system.does("dpkg --purge lifeboat")
    assert "/var/lib/lifeboat stays" in said
    system.does("test -e /var/lib/lifeboat/journal.sqlite")
    assert system("ls -d /etc/lifeboat")[0] != 0
    assert system("ls /etc/default/lifeboat")[0] != 0
    assert system.does("find / -xdev -name '*lifeboat*' -path '/usr/*' -not -path '*/__pycache__/*'") == ""
