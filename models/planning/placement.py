"""Where a vm may be, and what may be done with it there: rules of policy and hardware that planner and guard share."""

from __future__ import annotations

import re
from functools import lru_cache

from models.fleet import Fleet, Node, Vm, VmState, plain_uuid
from models.plan import ActionKind
from models.policy.policy import Policy


def is_protected(vm: Vm, policy: Policy) -> bool:
    """Whether a pattern of `protected` is the vm's name or UUID, however that is written. Only `*` means anything in it:
    `db[1]` is a name."""
    return plain_uuid(vm.uuid) in map(plain_uuid, policy.protected) or any(
        re.fullmatch(pattern, vm.name, re.DOTALL) or re.fullmatch(pattern, vm.uuid, re.IGNORECASE)
        for pattern in map(_protecting, policy.protected)
    )


@lru_cache(maxsize=1024)
def _protecting(pattern: str) -> str:
    return ".*".join(re.escape(part) for part in pattern.split("*"))


def cpu_accepts(source: Node, target: Node, policy: Policy) -> bool:
    """Whether the target's CPU model may take vms of the source's.

    A model that is not told on either side is left to the precheck at execution, which asks the hypervisor itself.
    """
    if not source.cpu_model or not target.cpu_model or source.cpu_model == target.cpu_model:
        return True
    return target.cpu_model in policy.target.cpu_models.get(source.cpu_model, ())


def holds_room(vm: Vm, policy: Policy) -> bool:
    """Whether a vm counts against its node's memory and vcpus. Running and paused ones do; stopped ones by policy."""
    return vm.state is not VmState.SHUTOFF or policy.target.count_stopped_vms


def memory_room(node: Node, policy: Policy) -> int:
    """Bytes that vms on this node may hold in all, with the headroom left free."""
    return int(node.vm_memory_bytes * (1 - policy.target.memory_headroom))


def archive_consent(vm: Vm, policy: Policy) -> bool:
    return policy.archive.allow_without_label if vm.cold_archive_allowed is None else vm.cold_archive_allowed


def live_blocker(vm: Vm, policy: Policy) -> str | None:
    """Why a vm may not move live to any node; None when it may be tried."""
    if vm.live_obstacle is not None:
        return vm.live_obstacle
    if vm.io_error and not policy.migration.with_io_error:
        return "it is paused by an I/O error, and policy moves no guest live with one (migration.with_io_error)"
    if not vm.migratable:
        return "passthrough devices or the like keep it from moving live"
    return _learned(vm, ActionKind.LIVE_MIGRATE)


def target_blocker(vm: Vm, kind: ActionKind, target: str, fleet: Fleet) -> str | None:
    """Why a vm may not move in this way to this node, as far as the two of them say; None when it may."""
    for other in fleet.vms_on(target):
        if other.name == vm.name and other.uuid != vm.uuid:
            return f"{target} has another vm named {vm.name} ({other.uuid})"
    return _learned(vm, kind, target)


def _learned(vm: Vm, kind: ActionKind, target: str | None = None) -> str | None:
    """What earlier tries say against this kind of move: to any node, or to this one."""
    reasons = [each.why for each in vm.learned_obstacles if each.kind is kind and each.target == target]
    return "; ".join(reasons) or None


def archive_blocker(vm: Vm, policy: Policy) -> str | None:
    """Why a vm may not be archived cold; None when it may."""
    if vm.priority not in policy.archive.priorities:
        return f"policy archives no {vm.priority} priority"
    if vm.label_warning:
        return "its label can't be read"
    if vm.cold_archive_allowed is False:
        return "its owner does not consent to a cold archive"
    if not archive_consent(vm, policy):
        return "nobody consented to a cold archive of it"
    if vm.state is VmState.PAUSED and not policy.archive.force_off:
        return "it is paused, and a paused guest can't shut itself down"
    return vm.archive_obstacle or _learned(vm, ActionKind.COLD_ARCHIVE)


def cold_blocker(vm: Vm, policy: Policy) -> str | None:
    """Why a vm may not be moved while stopped; None when it may."""
    obstacle = vm.cold_obstacle or _learned(vm, ActionKind.COLD_MIGRATE)
    if vm.state is VmState.SHUTOFF:
        return obstacle if policy.cold_migrate.stopped_vms else "policy moves no stopped vms"
    if vm.priority not in policy.cold_migrate.priorities:
        return f"policy stops no {vm.priority}-priority vm to move it"
    if vm.state is VmState.PAUSED and not policy.archive.force_off:
        return "it is paused, and a paused guest can't shut itself down"
    return obstacle
