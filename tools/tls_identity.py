"""Who answers at a node's TLS port: verified against the CA and the name, before anything is sent there."""

from __future__ import annotations

import hashlib
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from models.errors import BadInput, NodeUnreachable, PrecheckFailed

LIBVIRT_TLS_PORT = 16514
_SYSTEM_FILES = tuple(
    Path("/etc/pki") / file for file in ("CA/cacert.pem", "libvirt/clientcert.pem", "libvirt/private/clientkey.pem")
)


def tls_fingerprint(node: str, uri: str, *, client: Path | None, seconds: float) -> str:
    """SHA-256 (hex) of the certificate shown at a `qemu+tls` URI's host.

    `client` is the directory with cacert.pem, clientcert.pem and clientkey.pem; None: libvirt's system-wide files.
    Raises PrecheckFailed when the URI is not TLS or the certificate does not hold, NodeUnreachable when nobody answers
    within `seconds`, BadInput when our own files can't be used.
    """
    parts = urlsplit(uri)
    if parts.scheme != "qemu+tls" or not parts.hostname:
        raise PrecheckFailed(
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
            return hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        raise PrecheckFailed(
            f"node {node}: its certificate at {host}:{port} does not hold: {reason}",
            hint="renew it (name, CA and dates); nothing was sent",
        ) from error
    except OSError as error:
        raise NodeUnreachable(
            f"node {node}: {host}:{port}: {error.strerror or error}",
            hint="its vms may still be running; check the node, its libvirtd and the network",
        ) from error


def _context(node: str, client: Path | None) -> ssl.SSLContext:
    names = ("cacert.pem", "clientcert.pem", "clientkey.pem")
    authority, certificate, key = [client / name for name in names] if client is not None else _SYSTEM_FILES
    try:
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(
            f"node {node}: TLS files {authority}, {certificate} and {key} can't be used: {error}",
            hint="give their directory as ?pkipath=… in libvirt_uri",
        ) from error
    return context
