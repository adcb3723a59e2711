"""The nodes that the settings name, each behind the Hypervisor port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from tools.libvirt.given_up import GivenUp
from tools.libvirt.migration.migration_job import Peer
from tools.libvirt.node import LibvirtNode


class NodeFields(Protocol):
    """What connect_nodes needs to know of one node; `agent.settings.NodeSettings` has it."""

    @property
    def name(self) -> str: ...
    @property
    def libvirt_uri(self) -> str: ...
    @property
    def libvirt_read_uri(self) -> str | None: ...
    @property
    def migration_uri(self) -> str | None: ...
    @property
    def migration_address(self) -> str | None: ...
    @property
    def failure_domain(self) -> str: ...
    @property
    def memory_reserved_bytes(self) -> int: ...
    @property
    def cpu_overcommit(self) -> float: ...
    @property
    def migration_bytes_per_second(self) -> float: ...
    @property
    def archive_bytes_per_second(self) -> float: ...


class FleetFields(Protocol):
    """What connect_nodes needs to know of all; `agent.settings.Settings` has it."""

    @property
    def nodes(self) -> Sequence[NodeFields]: ...
    @property
    def shared_paths(self) -> Sequence[str]: ...
    @property
    def shared_pools(self) -> Sequence[str]: ...


def connect_nodes(
    settings: FleetFields,
    *,
    clock_offset: Callable[[str], float | None] | None = None,
    tally: GivenUp | None = None,
) -> dict[str, LibvirtNode]:
    """The nodes these settings name. Connects to nothing yet. `tally` counts questions that are given up.
    Raises BadInput for a URI that can't be one."""
    peers = {
        node.name: Peer(node.migration_uri or node.libvirt_uri.partition("?")[0], node.migration_address or "")
        for node in settings.nodes
    }
    return {
        node.name: LibvirtNode(
            node.name,
            node.libvirt_uri,
            read_uri=node.libvirt_read_uri,
            peers={name: peer for name, peer in peers.items() if name != node.name},
            migration_uri=node.migration_uri,
            shared_paths=settings.shared_paths,
            shared_pools=settings.shared_pools,
            failure_domain=node.failure_domain,
            memory_reserved_bytes=node.memory_reserved_bytes,
            cpu_overcommit=node.cpu_overcommit,
            migration_bytes_per_second=node.migration_bytes_per_second,
            archive_bytes_per_second=node.archive_bytes_per_second,
            clock_offset=clock_offset,
            tally=tally,
        )
        for node in settings.nodes
    }
