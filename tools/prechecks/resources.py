"""What a guest needs of its host, asked of the node that is to run it, before anything is stopped."""

from __future__ import annotations

from models.errors import Lasting, MachineUnknown, PrecheckFailed
from models.plan import ActionKind
from tools.domain.inventory.resource import Inventory, ResourceKind
from tools.domain.inventory.target import TargetVerdict, compare
from tools.ports.compatibility import Compatibility
from tools.ports.vms import VmObservation


def resources_at(
    target: Compatibility, source: Compatibility, inventory: Inventory, domain_xml: str, move: ActionKind
) -> TargetVerdict:
    """What the target has of everything that the move leaves it to have, what it lacks, and what can't be told."""
    there = target.host_resources(domain_xml)
    return compare(inventory, there, move, source_has=source.host_resources(domain_xml))


def require_resources(
    source: Compatibility,
    target: Compatibility,
    inventory: Inventory,
    domain_xml: str,
    before: VmObservation,
    move: ActionKind,
) -> None:
    """The target lacks nothing that the guest needs there. Raises MachineUnknown for a missing emulator or firmware,
    PrecheckFailed for anything else."""
    verdict = resources_at(target, source, inventory, domain_xml, move)
    why = verdict.why_not()
    if why is None:
        return
    first = verdict.missing[0].kind
    kind = MachineUnknown if first in (ResourceKind.EMULATOR, ResourceKind.FIRMWARE) else PrecheckFailed
    raise kind(
        f"vm {before.name} can't run on node {target.name}, which lacks: {why}",
        hint="give the node what is missing, or choose another target; nothing was changed",
        lasting=Lasting.AT_TARGET,
    )
