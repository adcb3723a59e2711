"""What an identity may do on a node's libvirt, found out without doing anything."""

from __future__ import annotations

import libvirt

from tools.libvirt.connection import LibvirtConnection

_DENIED = frozenset(
    (
        libvirt.VIR_ERR_ACCESS_DENIED,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE,
        libvirt.VIR_ERR_AUTH_FAILED,
        libvirt.VIR_ERR_AUTH_CANCELLED,
        libvirt.VIR_ERR_OPERATION_DENIED,
    )
)
_TRIED = "<domain type='qemu'><name>lifeboat-doctor</name><memory>1024</memory><os><type>hvm</type></os></domain>"


def may_write(node: str, uri: str) -> bool:
    """Whether libvirt would let who connects by `uri` change anything: it is asked to put a guest that does not exist into QEMU's
    words, which changes nothing and takes the right to write (`connect:write` of its access control). Rights to single guests
    are not tried. Raises NodeUnreachable where nobody answers or lets it in, and BadInput."""
    connection = LibvirtConnection(node, uri)
    try:
        connection.call("what it may do", lambda c: c.domainXMLToNative("qemu-argv", _TRIED, 0))
    except libvirt.libvirtError as error:
        return error.get_error_code() not in _DENIED
    finally:
        connection.close()
    return True
