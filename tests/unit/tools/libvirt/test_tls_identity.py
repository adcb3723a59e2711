"""Who answers at a TLS port, tried on real TLS servers on loopback."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from models.errors import BadInput, IdentityUnproven, NodeUnreachable
from tools.libvirt.tls_identity import shown_certificate

DAY = dt.timedelta(days=1)
LOOPBACK: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


@dataclass(frozen=True)
class Pair:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        certificate, key = directory / f"{name}cert.pem", directory / f"{name}key.pem"
        certificate.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, key

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def make(
    name: str, issuer: Pair | None = None, *, names: Sequence[x509.GeneralName] = LOOPBACK, expires: dt.timedelta = DAY
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * DAY)
        .not_valid_after(now + expires)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return Pair(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))


CA, OTHER_CA = make("test CA"), make("another CA")


@pytest.fixture
def client(tmp_path: Path) -> Path:
    directory = tmp_path / "client"
    directory.mkdir()
    make("lifeboat", CA).write(directory, "client")
    (directory / "cacert.pem").write_bytes(CA.certificate.public_bytes(serialization.Encoding.PEM))
    return directory


@contextmanager
def serving(shown: Pair, directory: Path, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Generator[str]:
    """The URI of a server that shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    context.load_cert_chain(*shown.write(directory, "server"))
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    plain, _ = server.accept()
                except OSError:
                    return
                with plain:
                    plain.settimeout(5)
                    try:
                        with context.wrap_socket(plain, server_side=True) as secured:
                            secured.recv(1)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"qemu+tls://127.0.0.1:{server.getsockname()[1]}/system"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_certificate_that_holds_is_told_by_its_fingerprint_and_its_end(tmp_path: Path, client: Path):
    one, swapped = make("node-b", CA), make("node-b", CA)
    with serving(one, tmp_path) as uri:
        shown = shown_certificate("node-b", uri, client=client, seconds=5)
    assert shown.sha256 == one.sha256
    assert shown.expires_at == one.certificate.not_valid_after_utc
    with serving(swapped, tmp_path) as uri:
        assert shown_certificate("node-b", uri, client=client, seconds=5).sha256 == swapped.sha256 != one.sha256


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (lambda: make("node-b", CA, expires=-DAY), "certificate has expired"),
        (lambda: make("node-b", CA, names=[x509.DNSName("node-c")]), "IP address mismatch"),
        (lambda: make("node-b", OTHER_CA), "unable to get local issuer certificate"),
        (lambda: make("node-b"), "self-signed certificate"),
    ],
    ids=["expired", "another name", "another CA", "self-signed"],
)
def test_one_that_does_not_hold_stops_everything(tmp_path: Path, client: Path, shown: Callable[[], Pair], says: str):
    with serving(shown(), tmp_path) as uri, pytest.raises(IdentityUnproven, match=says) as caught:
        shown_certificate("node-b", uri, client=client, seconds=5)
    assert "nothing was sent" in caught.value.hint


def test_older_tls_is_not_spoken(tmp_path: Path, client: Path):
    with (
        serving(make("node-b", CA), tmp_path, newest=ssl.TLSVersion.TLSv1_2) as uri,
        pytest.raises(IdentityUnproven, match=r"speaks no TLS 1\.3"),
    ):
        shown_certificate("node-b", uri, client=client, seconds=5)


def test_nobody_there_is_unreachable_not_unproven(client: Path):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    with pytest.raises(NodeUnreachable, match="Connection refused"):
        shown_certificate("node-b", f"qemu+tls://127.0.0.1:{port}/system", client=client, seconds=2)


def test_our_own_files_missing_is_bad_input(tmp_path: Path):
    with pytest.raises(BadInput, match="can't be used"):
        shown_certificate("node-b", "qemu+tls://127.0.0.1:1/system", client=tmp_path, seconds=1)
