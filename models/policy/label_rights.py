"""What labels may do is policy's to say: a fleet as policy lets its owners' words count."""

from __future__ import annotations

from typing import Any

from models.fleet import Fleet, Priority, Vm
from models.policy.policy import Label, LabelPolicy

_FIELDS = {
    Label.PRIORITY: "priority",
    Label.WORKLOAD: "workload",
    Label.ANTI_AFFINITY_GROUP: "anti_affinity_group",
    Label.COLD_ARCHIVE: "cold_archive_allowed",
    Label.PROBE: "probe",
}
_RANK = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2}


def with_label_rights(fleet: Fleet, policy: LabelPolicy) -> Fleet:
    """The fleet without what labels say beyond their rights; the same object where policy believes them in full.

    Consent to a cold archive that is not believed counts as not given, not as never asked for.
    """
    if set(policy.believed) == set(Label) and policy.highest_priority is Priority.HIGH:
        return fleet
    vms = tuple(_limited(vm, policy) for vm in fleet.vms)
    return fleet if vms == fleet.vms else fleet.model_copy(update={"vms": vms})


def _limited(vm: Vm, policy: LabelPolicy) -> Vm:
    defaults = {name: Vm.model_fields[name].default for name in _FIELDS.values()}
    changes: dict[str, Any] = {
        _FIELDS[label]: defaults[_FIELDS[label]] for label in Label if label not in policy.believed
    }
    if Label.COLD_ARCHIVE not in policy.believed and vm.cold_archive_allowed:
        changes["cold_archive_allowed"] = False
    priority = changes.get("priority", vm.priority)
    if _RANK[priority] > _RANK[policy.highest_priority]:
        changes["priority"] = policy.highest_priority
    changes = {name: value for name, value in changes.items() if getattr(vm, name) != value}
    return vm.model_copy(update=changes) if changes else vm
