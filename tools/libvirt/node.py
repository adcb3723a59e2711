"""`LibvirtNode`: libvirt on one node, behind the Hypervisor port."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tools.libvirt.connection import LibvirtConnection
from tools.libvirt.domains import DomainAccess
from tools.libvirt.given_up import GivenUp
from tools.libvirt.lifecycle import LibvirtLifecycle
from tools.libvirt.live_migration import LibvirtLiveMigration
from tools.libvirt.migration.compatibility import LibvirtCompatibility
from tools.libvirt.migration.migration_job import Peer
from tools.libvirt.storage import LibvirtStorage
from tools.libvirt.view import LibvirtView, NodeFigures
from tools.ports.shared_storage import SharedStorage

IDLE_SECONDS = 10.0
"""what acts is asked several times a second while it does, and by nobody between two evacuations"""


class LibvirtNode:
    """One node. Each method of the port is that of the part which answers it. Thread-safe; nothing is connected before
    the first question.

    `peers` maps the other nodes' names to how this node reaches them for peer-to-peer migration. libvirt can't know
    which storage every node reaches: pools and disks over the network count, and what `shared_paths` (directories) and
    `shared_pools` (names) declare. `read_uri`: looks at the node and its vms go by that one, read-only, and
    connections by `uri` are closed when they were not used for `idle_seconds`; None: by `uri`, like all else.
    `clock_offset` tells how far a node's clock is ahead, as libvirt does not. `tally` counts questions that are given up.
    Raises BadInput for a URI that can't be one.
    """

    def __init__(
        self,
        name: str,
        uri: str,
        *,
        read_uri: str | None = None,
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
        idle_seconds: float = IDLE_SECONDS,
        tally: GivenUp | None = None,
    ) -> None:
        connection = LibvirtConnection(
            name,
            uri,
            connect_seconds=connect_seconds,
            answer_seconds=answer_seconds,
            idle_seconds=None if read_uri is None else idle_seconds,
            tally=tally,
        )
        access = DomainAccess(connection)
        shared = SharedStorage(tuple(shared_paths), tuple(shared_pools))
        figures = NodeFigures(
            failure_domain=failure_domain,
            memory_reserved_bytes=memory_reserved_bytes,
            cpu_overcommit=cpu_overcommit,
            migration_bytes_per_second=migration_bytes_per_second,
            archive_bytes_per_second=archive_bytes_per_second,
        )
        view = LibvirtView(access, shared, figures)
        looks, looking = view, connection
        if read_uri is not None:
            looking = LibvirtConnection(
                name,
                read_uri,
                read_only=True,
                connect_seconds=connect_seconds,
                answer_seconds=answer_seconds,
                tally=tally,
            )
            looks = LibvirtView(DomainAccess(looking), shared, figures)
        compatibility = LibvirtCompatibility(
            access,
            migration_uri=migration_uri or uri.partition("?")[0],
            memory_reserved_bytes=memory_reserved_bytes,
            clock_offset=clock_offset,
        )
        storage = LibvirtStorage(access, shared, view)
        migration = LibvirtLiveMigration(access, shared, view, peers or {})
        lifecycle = LibvirtLifecycle(access)

        self.name = name
        self._views, self._connections = {view, looks}, {connection, looking}

        # what every platform can do
        self.node = looks.node
        self.vms = looks.vms
        self.observe = view.observe
        self.migrate_live = migration.migrate_live
        self.job = migration.job
        self.abort_job = migration.abort_job
        self.shut_down = lifecycle.shut_down
        self.power_off = lifecycle.power_off
        self.start = lifecycle.start

        # the definitions of its vms
        self.uuid_of = view.uuid_of
        self.shared_storage = view.shared_storage
        self.domain_xml = view.domain_xml
        self.running_xml = view.running_xml
        self.define = lifecycle.define
        self.try_definition = lifecycle.try_definition
        self.undefine = lifecycle.undefine
        self.set_autostart = lifecycle.set_autostart
        self.set_on_poweroff = lifecycle.set_on_poweroff
        self.tag_attempt = lifecycle.tag_attempt

        # what it can take, and who it proves to be
        self.free_memory_bytes = compatibility.free_memory_bytes
        self.cells = compatibility.cells
        self.host_resources = compatibility.host_resources
        self.host_cpu = compatibility.host_cpu
        self.widest_guest = compatibility.widest_guest
        self.cpu_compatible = compatibility.cpu_compatible
        self.machine_compatible = compatibility.machine_compatible
        self.common_cpu_model = compatibility.common_cpu_model
        self.versions = compatibility.versions
        self.clock_offset_seconds = compatibility.clock_offset_seconds
        self.closed_port = compatibility.closed_port
        self.tls_certificate = compatibility.tls_certificate
        self.tls_fingerprint = compatibility.tls_fingerprint

        # what steers a live migration
        self.migration_blockers = view.migration_blockers
        self.completed_job = migration.completed_job
        self.set_max_downtime = migration.set_max_downtime
        self.max_downtime = migration.max_downtime
        self.start_post_copy = migration.start_post_copy
        self.suspend = lifecycle.suspend
        self.resume = lifecycle.resume
        self.io_limits = migration.io_limits
        self.set_io_limits = migration.set_io_limits
        self.measure_dirty_rate = migration.measure_dirty_rate
        self.guest_answers = migration.guest_answers

        # its images, state files and snapshots
        self.free_disk_bytes = storage.free_disk_bytes
        self.disk_exists = storage.disk_exists
        self.storage_facts = storage.storage_facts
        self.users_of = storage.users_of
        self.read_disk = storage.read_disk
        self.image_header = storage.image_header
        self.create_disk = storage.create_disk
        self.write_disk = storage.write_disk
        self.delete_disk = storage.delete_disk
        self.wipe_disk = storage.wipe_disk
        self.state_files = storage.state_files
        self.boot_files = storage.boot_files
        self.write_state_file = storage.write_state_file
        self.delete_state_file = storage.delete_state_file
        self.read_state_file = storage.read_state_file
        self.wipe_state_file = storage.wipe_state_file
        self.snapshots = storage.snapshots
        self.restore_snapshots = storage.restore_snapshots
        self.checkpoints = storage.checkpoints
        self.restore_checkpoints = storage.restore_checkpoints

    def close(self) -> None:
        """Let go of its connections."""
        for view in self._views:
            view.close()
        for connection in self._connections:
            connection.close()
