"""docs/how-to/tls-and-pins.md on loopback: a real libvirtd over TLS, with certificates made by the page's own commands."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.command_line import lifeboat
from scenes.doc_commands import ROOT, blocks
from scenes.two_libvirtds import Libvirtd, missing, ordinary_user

pytestmark = pytest.mark.libvirtd

PAGE = "docs/how-to/tls-and-pins.md"


class Guide:
    """Somebody who does what the page says, for one node that is this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._said = [
            b.lines for b in blocks() if b.page == PAGE and all(line.startswith("openssl") for line in b.lines)
        ]
        for commands in self._said:
            self._do(commands)
        self.pki = self._folder("lifeboat")
        self._do([line.replace("CN=lifeboat", "CN=somebody") for line in self._said[2]])
        self.somebodys_pki = self._folder("somebody")
        (allowed,) = [
            line for line in (ROOT / PAGE).read_text("utf-8").splitlines() if line.startswith("tls_allowed_dn_list")
        ]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        listens = f'listen_tls = 1\nlisten_addr = "127.0.0.1"\ntls_port = "{self.port}"\n{allowed}\n'
        self.node = Libvirtd(directory / "node", "b", ordinary_user(), listens=listens)
        self.certificates = self.node.directory / ".pki/libvirt"
        self.install()

    def _do(self, commands: list[str] | tuple[str, ...]) -> None:
        here = "\n".join(commands).replace("DNS:node-b,IP:192.0.2.12", "DNS:localhost,IP:127.0.0.1")
        here = here.replace("-verify_hostname node-b", "-verify_hostname localhost").replace("rsa:3072", "rsa:2048")
        done = subprocess.run(["bash", "-euc", here], cwd=self.directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def _folder(self, whose: str) -> Path:
        made = self.directory / whose
        made.mkdir()
        for file in ("cacert.pem", "clientcert.pem", "clientkey.pem"):
            shutil.copy(self.directory / file, made)
        return made

    def make_another_certificate(self) -> None:
        """Step 2 once more."""
        self._do(self._said[1])

    def install(self) -> None:
        """Where an ordinary user's libvirtd looks for them; its key belongs to that user."""
        for folder in (self.certificates.parent, self.certificates):
            self.node.own(folder)
        for file in ("serverkey.pem", "servercert.pem", "cacert.pem"):
            self.node.own(self.certificates / file, (self.directory / file).read_bytes())

    def fingerprint(self) -> str:
        """As the page has it read on the node, without colons."""
        shown = subprocess.check_output(
            ["openssl", "x509", "-in", self.certificates / "servercert.pem", "-noout", "-fingerprint", "-sha256"],
            text=True,
        )
        return shown.partition("=")[2].strip().replace(":", "").lower()

    def read_again(self) -> None:
        admin = f"libvirtd:///session?socket={self.node.directory}/run/libvirt/libvirt-admin-sock"
        user = ordinary_user()
        command = ["virt-admin", "-c", admin, "server-update-tls", "libvirtd"]
        subprocess.run(command, check=True, capture_output=True, user=user.pw_uid if user else None)

    def settings(self, pki: Path) -> None:
        """lifeboat.yaml, in the working directory."""
        uri = f"qemu+tls://localhost:{self.port}/session?pkipath={pki}"
        Path("lifeboat.yaml").write_text(f"state_dir: state\nnodes: [{{name: node-b, libvirt_uri: '{uri}'}}]\n")


@pytest.fixture(scope="module")
def guide() -> Iterator[Guide]:
    lacking = missing() or next((f"needs {p}" for p in ("openssl", "virt-admin") if shutil.which(p) is None), None)
    if lacking:
        pytest.skip(lacking)
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="lifeboat-tls-", dir=base))
    directory.chmod(0o755)
    made = Guide(directory)
    made.node.start()
    yield made
    made.node.stop()
    shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIFEBOAT_CONFIG", raising=False)


def doctor(*options: str) -> dict[str, tuple[str, str]]:
    """check → (health, what), of doctor's lines about the node."""
    _, said = lifeboat("doctor", "--json", *options)
    return {line["check"]: (line["health"], line["what"]) for line in json.loads(said) if line["subject"] == "node-b"}


def test_the_page_s_certificates_let_lifeboat_in_and_are_pinned_until_they_are_renewed(guide: Guide) -> None:
    guide.settings(guide.pki)
    found = doctor("--pin")
    assert [found[check][0] for check in ("libvirt", "certificate", "pin")] == ["ok", "ok", "ok"]
    assert guide.fingerprint() in Path("state/pins.json").read_text(encoding="utf-8")

    guide.make_another_certificate()
    guide.install()
    guide.read_again()
    found = doctor()
    assert found["certificate"][0] == "ok", "it is from the same CA, and for the same name"
    assert found["pin"][0] == "fail"
    assert guide.fingerprint()[:16] in found["pin"][1]
    assert doctor("--repin", "node-b")["pin"][0] == "ok"
    assert lifeboat("audit", "verify")[0] == 0


def test_whoever_is_not_on_the_node_s_list_stays_outside(guide: Guide) -> None:
    guide.settings(guide.somebodys_pki)
    health, what = doctor()["libvirt"]
    assert health == "fail"
    assert "Unable to read TLS confirmation" in what
    assert "not on the list of allowed clients" in (guide.node.directory / "log").read_text()
