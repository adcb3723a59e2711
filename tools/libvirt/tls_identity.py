"""Who answers at a node's TLS port: verified against the CA and the name, before anything is sent there."""

from __future__ import annotations

import hashlib
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from models.errors import BadInput, IdentityUnproven, NodeUnreachable
from tools.ports.compatibility import Certificate

LIBVIRT_TLS_PORT = 16514
_SYSTEM_FILES = tuple(
    Path("/etc/pki") / file for file in ("CA/cacert.pem", "libvirt/clientcert.pem", "libvirt/private/clientkey.pem")
)


def shown_certificate(node: str, uri: str, *, client: Path | None, seconds: float) -> Certificate:
    """The certificate shown at a `qemu+tls` URI's host, verified against CA, name and dates, over TLS 1.3.

    `client` is the directory with cacert.pem, clientcert.pem and clientkey.pem; None: libvirt's system-wide files.
    Raises IdentityUnproven when the URI is not TLS or the certificate does not hold, NodeUnreachable when nobody answers
    within `seconds`, BadInput when our own files can't be used.
    """
    parts = urlsplit(uri)
    if parts.scheme != "qemu+tls" or not parts.hostname:
        raise IdentityUnproven(
            f"node {node}: other nodes reach it through {uri}, which is not TLS",
            hint="set its migration_uri to qemu+tls://HOST/system, or policy migration.tls_required: false",
        )
    host, port = parts.hostname, parts.port or LIBVIRT_TLS_PORT
    context = _context(node, client)
    try:
        with (
            socket.create_connection((host, port), timeout=seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            shown: Any = secured.getpeercert()
            return Certificate(
                sha256=hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest(),
                expires_at=datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC),
            )
    except ssl.SSLCertVerificationError as error:
        raise IdentityUnproven(
            f"node {node}: its certificate at {host}:{port} does not hold: {error.verify_message}",
            hint="renew it (name, CA and dates); nothing was sent",
        ) from error
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        if "VERSION" in reason or "PROTOCOL" in reason:
            raise IdentityUnproven(
                f"node {node}: {host}:{port} speaks no TLS 1.3 ({reason.lower().replace('_', ' ')})",
                hint="see tls_priority in its libvirtd.conf, and its GnuTLS; nothing was sent",
            ) from error
        raise IdentityUnproven(
            f"node {node}: no TLS with {host}:{port}: {reason.lower().replace('_', ' ')}",
            hint="see libvirtd's log there; nothing was sent",
        ) from error
    except OSError as error:
        raise NodeUnreachable(
            f"node {node}: {host}:{port}: {error.strerror or error}",
            hint="its vms may still be running; check the node, its libvirtd and the network",
            node=node,
        ) from error


def _context(node: str, client: Path | None) -> ssl.SSLContext:
    names = ("cacert.pem", "clientcert.pem", "clientkey.pem")
    authority, certificate, key = [client / name for name in names] if client is not None else _SYSTEM_FILES
    try:
        context = ssl.create_default_context(cafile=str(authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(
            f"node {node}: TLS files {authority}, {certificate} and {key} can't be used: {error}",
            hint="give their directory as ?pkipath=… in libvirt_uri",
        ) from error
    return context
