"""Nodes and an archive store on which nothing is changed unless this lifeboat leads; and none stops the vm that lifeboat runs in.

What takes long is asked about all the way: whoever copies, and led when the copy began, may lead no longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, cast

from models.errors import DeviceBound
from tools.ports.archives import ArchiveEntry, ArchiveStore
from tools.ports.hypervisor import Hypervisor

LOOKS = frozenset({
    "name", "node", "vms", "observe", "job", "close", "uuid_of", "domain_xml", "running_xml", "shared_storage",
    "migration_blockers", "completed_job", "max_downtime", "io_limits", "measure_dirty_rate", "guest_answers",
    "free_disk_bytes", "disk_exists", "storage_facts", "users_of", "read_disk", "image_header", "state_files", "boot_files",
    "read_state_file", "snapshots", "checkpoints", "free_memory_bytes", "host_resources", "cells", "host_cpu", "widest_guest",
    "cpu_compatible", "machine_compatible", "common_cpu_model", "versions", "clock_offset_seconds", "closed_port",
    "tls_certificate", "tls_fingerprint",
})  # fmt: skip
"""what changes nothing. Everything else does, or may: a method that is not named here is guarded"""
_STOPS = frozenset({"shut_down", "power_off"})


def guarded(node: Hypervisor, *, require_lead: Callable[[], None], own_vm: str) -> Hypervisor:
    """`require_lead` is called right before each call that may change something, and raises where that must not be done now.
    `own_vm`: uuid of the vm that lifeboat runs in; empty: in none."""
    return cast("Hypervisor", _GuardedNode(node, require_lead, own_vm))


class _GuardedNode:
    def __init__(self, node: Hypervisor, require_lead: Callable[[], None], own_vm: str) -> None:
        self._node, self._require_lead, self._own_vm = node, require_lead, own_vm

    def write_disk(self, path: str, chunks: Iterator[bytes], **options: Any) -> int:
        """As the port says; of each chunk it is asked whether it may still be written."""

        def asked() -> Iterator[bytes]:
            for chunk in chunks:
                self._require_lead()
                yield chunk
            self._require_lead()

        self._require_lead()
        return self._node.write_disk(path, asked(), **options)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._node, name)
        if name in LOOKS or not callable(found):
            return found

        @wraps(found)
        def call(*arguments: Any, **options: Any) -> Any:
            if name in _STOPS and arguments and arguments[0] == self._own_vm:
                raise DeviceBound(
                    f"vm {self._own_vm} on node {self._node.name} is the one that lifeboat itself runs in, and would end it",
                    hint="move it live, or have a lifeboat that runs elsewhere do it",
                )
            self._require_lead()
            return found(*arguments, **options)

        return call


def guarded_store(store: ArchiveStore, *, require_lead: Callable[[], None]) -> ArchiveStore:
    """As `guarded`, for what writes, discards or signs."""
    return cast("ArchiveStore", _GuardedStore(store, require_lead))


class _GuardedStore:
    def __init__(self, store: ArchiveStore, require_lead: Callable[[], None]) -> None:
        self._store, self._require_lead = store, require_lead

    def write(self, *, on_progress: Callable[[int, int], None], **what: Any) -> ArchiveEntry:
        def asked(done: int, total: int) -> None:
            self._require_lead()
            on_progress(done, total)

        self._require_lead()
        return self._store.write(on_progress=asked, **what)

    def discard(self, archive_id: str) -> None:
        self._require_lead()
        self._store.discard(archive_id)

    def write_record(self, archive_id: str, name: str, record: Mapping[str, Any]) -> str:
        self._require_lead()
        return self._store.write_record(archive_id, name, record)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
