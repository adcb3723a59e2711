"""The lab's certificate authority: one CA, one certificate per node, one for whoever manages the lab from outside.

ECDSA P-256, valid for 90 days (`lifeboat doctor` warns 30 days ahead). Layout and names are libvirt's
(https://libvirt.org/kbase/tlscerts.html) and, for migration, QEMU's x509 credentials.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.nodes.node import Lab

_VALID = dt.timedelta(days=90)


def client_directory(lab: Lab) -> Path:
    """What to give libvirt as `pkipath`: cacert.pem, clientcert.pem, clientkey.pem."""
    return lab.root / "pki" / "client"


def create(lab: Lab) -> None:
    """Make the CA and every certificate, where libvirt and QEMU look for them inside each node."""
    key, ca = _certificate("lifeboat lab CA", None, [])
    _write_key(lab.root / "pki/ca-key.pem", key)
    _write(lab.root / "pki/cacert.pem", ca)

    outside = client_directory(lab)
    client_key, client = _certificate("lab-manager", (key, ca), [])
    _write(outside / "cacert.pem", ca)
    _write(outside / "clientcert.pem", client)
    _write_key(outside / "clientkey.pem", client_key)

    for node in lab.nodes.values():
        names = [x509.DNSName(node.name), x509.IPAddress(ipaddress.ip_address(node.address))]
        node_key, cert = _certificate(node.name, (key, ca), names)
        pki = node.run_dir / "fs/etc/pki"
        _write(pki / "CA/cacert.pem", ca)
        for role in ("server", "client"):
            _write(pki / f"libvirt/{role}cert.pem", cert)
            _write_key(pki / f"libvirt/private/{role}key.pem", node_key)
            _write(pki / f"qemu/{role}-cert.pem", cert)
            _write_key(pki / f"qemu/{role}-key.pem", node_key)
        _write(pki / "qemu/ca-cert.pem", ca)


def renew_server(lab: Lab, name: str) -> None:
    """Another server certificate for a node, from the same CA and for the same names. libvirtd shows it once it was told
    to read it (`virt-admin server-update-tls`)."""
    node = lab.node(name)
    key = serialization.load_pem_private_key((lab.root / "pki/ca-key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    issuer = (key, x509.load_pem_x509_certificate((lab.root / "pki/cacert.pem").read_bytes()))
    names = [x509.DNSName(node.name), x509.IPAddress(ipaddress.ip_address(node.address))]
    node_key, certificate = _certificate(node.name, issuer, names)
    pki = node.run_dir / "fs/etc/pki/libvirt"
    _write(pki / "servercert.pem", certificate)
    _write_key(pki / "private/serverkey.pem", node_key)


_Issuer = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


def _certificate(
    common_name: str, issuer: _Issuer | None, names: Sequence[x509.GeneralName]
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A certificate signed by `issuer`, or a CA signed by itself when there is none."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[1].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(ca=issuer is None), critical=True)
    )
    if issuer:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, builder.sign(issuer[0] if issuer else key, hashes.SHA256())


def _usage(*, ca: bool) -> x509.KeyUsage:
    # libvirt 9.0 wants key encipherment permitted, though an ECDSA key never does that
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=not ca,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
