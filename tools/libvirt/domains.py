"""How a node's libvirt is reached: what is asked and what is done, each with the error that it means when it fails."""

from __future__ import annotations

from collections.abc import Callable

import libvirt

from models.errors import ActionFailed
from tools.libvirt.connection import Answer, LibvirtConnection, one_line

GONE = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_DOMAIN_METADATA)
"""what libvirt answers when a domain is not there any more"""


class DomainAccess:
    """One node's libvirt, for the parts of LibvirtNode. Thread-safe; nothing is connected before the first question."""

    def __init__(self, connection: LibvirtConnection) -> None:
        self.connection = connection
        self.name = connection.node

    def query(
        self, what: str, function: Callable[[libvirt.virConnect], Answer], *, seconds: float | None = None
    ) -> Answer:
        """An answer, or NodeUnreachable; NodeCannotTell, which is one too, where libvirt answers with an error."""
        try:
            return self.connection.call(what, function, seconds=seconds)
        except libvirt.libvirtError as error:
            raise self.connection.cannot_tell(what, error) from error

    def _with_domain(
        self, what: str, uuid: str, function: Callable[[libvirt.virDomain], Answer], *, seconds: float | None = None
    ) -> Answer:
        def run(connection: libvirt.virConnect) -> Answer:
            domain = find_domain(connection, uuid)
            if domain is None:
                raise self.unknown(uuid)
            return function(domain)

        return self.connection.call(f"{what} vm {uuid}", run, seconds=seconds)

    def read(self, what: str, uuid: str, function: Callable[[libvirt.virDomain], Answer]) -> Answer:
        """As `query`, of one vm. Raises ActionFailed when the node does not know it."""
        try:
            return self._with_domain(what, uuid, function)
        except libvirt.libvirtError as error:
            raise self.connection.cannot_tell(f"{what} vm {uuid}", error) from error

    def change(
        self, what: str, uuid: str, function: Callable[[libvirt.virDomain], object], *, seconds: float | None = None
    ) -> None:
        """Do something with a vm. Raises ActionFailed when the node does not know it, or libvirt refuses; `what` says in
        messages what was done. Raises NodeUnreachable when the node does not answer."""
        self.change_and_return(what, uuid, function, seconds=seconds)

    def change_and_return(
        self, what: str, uuid: str, function: Callable[[libvirt.virDomain], Answer], *, seconds: float | None = None
    ) -> Answer:
        """As `change`; what `function` returned."""
        try:
            return self._with_domain(what, uuid, function, seconds=seconds)
        except libvirt.libvirtError as error:
            raise ActionFailed(
                f"{what} vm {uuid} on node {self.name} failed: {one_line(error)}",
                hint="look at the vm before going on",
            ) from error

    def unknown(self, uuid: str) -> ActionFailed:
        """The error for a vm that the node does not know."""
        return ActionFailed(f"vm {uuid} is not known on node {self.name}", hint="it moved or was removed; look again")


def find_domain(connection: libvirt.virConnect, uuid: str) -> libvirt.virDomain | None:
    """The domain; None when there is none, or can't be: what is no uuid is nobody's."""
    try:
        return connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG):
            return None
        raise
