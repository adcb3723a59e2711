"""`SimulatedNode`: one node of a simulated fleet, behind the Hypervisor port. Answers as LibvirtNode does."""

from __future__ import annotations

from tools.simulated.compatibility import SimulatedCompatibility
from tools.simulated.domains import DomainAccess
from tools.simulated.lifecycle import SimulatedLifecycle
from tools.simulated.live_migration import SimulatedLiveMigration
from tools.simulated.storage import SimulatedStorage
from tools.simulated.timeline import Timeline
from tools.simulated.tuning import SimulatedTuning
from tools.simulated.view import SimulatedView


class SimulatedNode:
    """One simulated node. Each method of the port is that of the part which answers it."""

    def __init__(self, fleet: Timeline, name: str) -> None:
        access = DomainAccess(fleet, name)
        storage = SimulatedStorage(access)
        view = SimulatedView(access, storage)
        compatibility = SimulatedCompatibility(access)
        migration = SimulatedLiveMigration(access, storage)
        tuning = SimulatedTuning(access)
        lifecycle = SimulatedLifecycle(access, storage)

        self.name = name
        self.prepare_migration = migration.prepare

        # what every platform can do
        self.node = view.node
        self.vms = view.vms
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
        self.migration_blockers = migration.migration_blockers
        self.completed_job = migration.completed_job
        self.set_max_downtime = migration.set_max_downtime
        self.max_downtime = tuning.max_downtime
        self.start_post_copy = migration.start_post_copy
        self.suspend = lifecycle.suspend
        self.resume = lifecycle.resume
        self.io_limits = tuning.io_limits
        self.set_io_limits = tuning.set_io_limits
        self.measure_dirty_rate = tuning.measure_dirty_rate
        self.guest_answers = tuning.guest_answers

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
        """Nothing is held open."""
