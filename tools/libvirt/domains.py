"""How a node's libvirt is reached: what is asked and what is done, each with the error that it means when it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import libvirt

from models.errors import ActionFailed
from tools.domain.shared_storage import SharedStorage
from tools.libvirt.connection import Answer, LibvirtConnection, one_line
from tools.libvirt.migration_job import Peer

GONE = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_DOMAIN_METADATA)
"""what libvirt answers when a domain is not there any more"""


class LibvirtReach:
    """One node. Thread-safe; nothing is connected before the first question.

    `peers` maps the other nodes' names to how this node reaches them for peer-to-peer migration. libvirt can't know
    which storage every node reaches: pools and disks over the network count, and what `shared_paths` (directories) and
    `shared_pools` (names) declare.
    `clock_offset` tells how far a node's clock is ahead, as libvirt does not. Raises BadInput for a URI that can't be one.
    """

    def __init__(
        self,
        name: str,
        uri: str,
        *,
        peers: Mapping[str, Peer] | None = None,
        migration_uri: str | None = None,
        shared_paths: Sequence[str] = (),
        shared_pools: Sequence[str] = (),
        failure_domain: str = "",
        memory_reserved_bytes: int = 1 << 30,
        cpu_overcommit: float = 4.0,
        migration_bytes_per_second: float = 125_000_000.0,
        archive_bytes_per_second: float = 100_000_000.0,
        clock_offset: Callable[[str], float | None] | None = None,
        connect_seconds: float = 5.0,
        answer_seconds: float = 15.0,
    ) -> None:
        self._name = name
        self._connection = LibvirtConnection(name, uri, connect_seconds=connect_seconds, answer_seconds=answer_seconds)
        self._migration_uri = migration_uri or uri.partition("?")[0]
        self._peers = dict(peers or {})
        self._shared = SharedStorage(tuple(shared_paths), tuple(shared_pools))
        self._failure_domain = failure_domain
        self._reserved = memory_reserved_bytes
        self._overcommit = cpu_overcommit
        self._migration_rate = migration_bytes_per_second
        self._archive_rate = archive_bytes_per_second
        self._clock_offset = clock_offset
        self._told_to_end: set[str] = set()
        """uuids of vms whose job `abort_job` was asked to end since their last migration began"""

    @property
    def name(self) -> str:
        return self._name

    def _query(
        self, what: str, function: Callable[[libvirt.virConnect], Answer], *, seconds: float | None = None
    ) -> Answer:
        """An answer, or NodeUnreachable: an error where only an answer was wanted tells nothing either."""
        try:
            return self._connection.call(what, function, seconds=seconds)
        except libvirt.libvirtError as error:
            raise self._connection.unreachable(f"{what}: {one_line(error)}") from error

    def _with_domain(
        self, what: str, uuid: str, function: Callable[[libvirt.virDomain], Answer], *, seconds: float | None = None
    ) -> Answer:
        def run(connection: libvirt.virConnect) -> Answer:
            domain = find_domain(connection, uuid)
            if domain is None:
                raise self._unknown(uuid)
            return function(domain)

        return self._connection.call(f"{what} vm {uuid}", run, seconds=seconds)

    def _read_domain(self, what: str, uuid: str, function: Callable[[libvirt.virDomain], Answer]) -> Answer:
        try:
            return self._with_domain(what, uuid, function)
        except libvirt.libvirtError as error:
            raise self._connection.unreachable(f"{what} vm {uuid}: {one_line(error)}") from error

    def _change(
        self, what: str, uuid: str, function: Callable[[libvirt.virDomain], object], *, seconds: float | None = None
    ) -> None:
        self._change_and_return(what, uuid, function, seconds=seconds)

    def _change_and_return(
        self, what: str, uuid: str, function: Callable[[libvirt.virDomain], Answer], *, seconds: float | None = None
    ) -> Answer:
        try:
            return self._with_domain(what, uuid, function, seconds=seconds)
        except libvirt.libvirtError as error:
            raise ActionFailed(
                f"{what} vm {uuid} on node {self._name} failed: {one_line(error)}",
                hint="look at the vm before going on",
            ) from error

    def _unknown(self, uuid: str) -> ActionFailed:
        return ActionFailed(f"vm {uuid} is not known on node {self._name}", hint="it moved or was removed; look again")

    def close(self) -> None:
        self._connection.close()


def find_domain(connection: libvirt.virConnect, uuid: str) -> libvirt.virDomain | None:
    """The domain; None when there is none, or can't be: what is no uuid is nobody's."""
    try:
        return connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG):
            return None
        raise
