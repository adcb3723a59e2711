"""A node on which nothing is changed unless this lifeboat leads, and which never stops the vm that lifeboat itself runs in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from models.errors import DeviceBound
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
