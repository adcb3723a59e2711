"""Which URIs lead to a node. Needs no libvirt."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from models.errors import BadInput

_SCHEMES = ("qemu", "qemu+tls", "qemu+ssh", "qemu+unix", "qemu+tcp", "qemu+libssh", "qemu+libssh2")


def pki_directory(uri: str) -> Path | None:
    """Where the client certificate for this URI lies, when the URI says so."""
    paths = parse_qs(urlsplit(uri).query).get("pkipath")
    return Path(paths[0]) if paths else None


def usable_uri(node: str, uri: str) -> str:
    """The URI as libvirt is given it. Raises BadInput for what is no connection to QEMU, or names certificates that can't be
    read."""
    parts = urlsplit(uri)
    if parts.scheme not in _SCHEMES or not re.fullmatch(r"/(system|session)?", parts.path):
        raise BadInput(
            f"node {node}: libvirt_uri {uri!r} is not a QEMU connection",
            hint="write it like qemu+tls://node-a/system or qemu+ssh://root@node-a/system",
        )
    directory = pki_directory(uri)
    if directory is not None:
        for file in ("cacert.pem", "clientcert.pem", "clientkey.pem"):
            if not os.access(directory / file, os.R_OK):
                raise BadInput(
                    f"node {node}: libvirt_uri names pkipath {directory}, and {file} can't be read there",
                    hint="put the CA and client certificates there, or correct the path",
                )
    if parts.scheme == "qemu+ssh":  # ssh must never stop to ask: nobody is there to answer
        query = parse_qs(parts.query)
        query.setdefault("no_tty", ["1"])
        return urlunsplit(parts._replace(query=urlencode(query, doseq=True)))
    return uri
