"""A guest as a whole: what runs, what is defined for its next start, and what libvirt keeps of it besides. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tools.domain.inventory.resource import (
    COPIED,
    PRESENT,
    Fate,
    Inventory,
    Outcome,
    Resource,
    ResourceKind,
    refuses,
)

_LOST_BY_A_STOP = (ResourceKind.DISK, ResourceKind.DIRECTORY, ResourceKind.PERSISTENT_MEMORY)
"""kinds with content: what only the running guest has of them would be gone once it stops"""


_KEPT_BY_A_DEFINITION = (
    *_LOST_BY_A_STOP,
    ResourceKind.MEDIUM,
    ResourceKind.BOOT_FILE,
    ResourceKind.UEFI_VARIABLES,
    ResourceKind.TPM_STATE,
    ResourceKind.HOST_DEVICE,
    ResourceKind.SHARED_MEMORY,
    ResourceKind.SECRET,
    ResourceKind.NETWORK,
    ResourceKind.BRIDGE,
    ResourceKind.UNKNOWN,
)
"""kinds that a guest would start without, were they let go of"""


@dataclass(frozen=True, kw_only=True)
class LibvirtState:
    """What libvirt keeps of a guest outside its definition."""

    persistent: bool = True
    snapshots: int = 0
    checkpoints: int = 0
    saved_memory: bool = False


@dataclass(frozen=True, kw_only=True)
class DefinitionDifference:
    """One thing that the running guest and its definition have differently."""

    resource: Resource
    """as the one that has it names it"""
    running: str | None
    """where the running guest has it; None when it does not"""
    defined: str | None
    """where the definition for its next start has it; None when it does not"""

    def __str__(self) -> str:
        if self.defined is None:
            return f"{self.resource.what} ({self.running}) is only in the running guest"
        if self.running is None:
            return f"{self.resource.what} ({self.defined}) is only in the definition"
        return f"{self.resource.what} is {self.running} in the running guest and {self.defined} in the definition"


def lost_from(given: Inventory, taken: Inventory) -> tuple[Resource, ...]:
    """What a libvirt that took a definition no longer names of it: things that it does not know, and let go of silently. What
    it filled in is its own."""
    left = {(each.kind, each.where) for each in taken.resources}
    return tuple(each for each in given.of(*_KEPT_BY_A_DEFINITION) if (each.kind, each.where) not in left)


def definition_differences(running: Inventory, defined: Inventory) -> tuple[DefinitionDifference, ...]:
    """Where content of the guest would be lost or left behind, because a stop lets the definition take over: disks,
    directories and persistent memory that only one of the two has, or that each has elsewhere.

    Images below disks are left out: libvirt names them in the running definition alone.
    """
    runs, keeps = _by_name(running), _by_name(defined)
    found: list[DefinitionDifference] = []
    for name in dict.fromkeys((*runs, *keeps)):
        here, there = runs.get(name), keeps.get(name)
        if (here.where if here else None) != (there.where if there else None):
            resource = here or there
            assert resource is not None
            found.append(
                DefinitionDifference(
                    resource=resource,
                    running=here.where if here else None,
                    defined=there.where if there else None,
                )
            )
    return tuple(found)


def _by_name(inventory: Inventory) -> dict[str, Resource]:
    return {each.device or f"{each.kind} {each.where}": each for each in inventory.of(*_LOST_BY_A_STOP)}


def whole_inventory(running: Inventory, defined: Inventory | None, state: LibvirtState) -> Inventory:
    """Everything of a guest. `running`: of what runs now, or of the definition of a guest that is shut off; `defined`: of
    the definition that takes over when it stops, None when there is none besides."""
    resources = list(running.resources)
    if defined is not None:
        known = {(each.kind, each.device, each.where) for each in running.resources}
        resources += (
            _from_the_next_start(each)
            for each in defined.resources
            if (each.kind, each.device, each.where) not in known
        )
        resources += map(_difference, definition_differences(running, defined))
    return replace(running, resources=(*resources, *_kept_by_libvirt(state)))


def _from_the_next_start(resource: Resource) -> Resource:
    """What only the definition has. A live move takes the definition along, and none of its files."""
    live = resource.live_migrate
    if live.outcome in (Outcome.COPIED, Outcome.REFUSES):
        live = Fate(PRESENT.outcome, "only in the definition for its next start")
    return replace(resource, live_migrate=live)


def _difference(difference: DefinitionDifference) -> Resource:
    why = refuses(f"{difference}: attach or detach it in both (virsh attach-disk --live --config)")
    resource = difference.resource
    live = resource.live_migrate
    if difference.running is None:
        live = live if live.outcome is Outcome.SHARED else refuses(f"{difference}, and would be left behind")
    return replace(resource, live_migrate=live, cold_migrate=why, cold_archive=why)


def _kept_by_libvirt(state: LibvirtState) -> Iterator[Resource]:
    def kept(what: str, live: Fate, cold: Fate, archive: Fate) -> Resource:
        return Resource(
            what=what,
            kind=ResourceKind.LIBVIRT_STATE,
            where="",
            live_migrate=live,
            cold_migrate=cold,
            cold_archive=archive,
        )

    if not state.persistent:
        why = refuses("libvirt forgets it when it stops: whoever made it has to move it")
        yield kept("transient guest", why, why, why)
    if state.snapshots:
        why = refuses("libvirt moves no guest live that has snapshots")
        yield kept(f"{state.snapshots} snapshot{'' if state.snapshots == 1 else 's'}", why, COPIED, COPIED)
    if state.checkpoints:
        yield kept(f"{state.checkpoints} checkpoint{'' if state.checkpoints == 1 else 's'}", COPIED, COPIED, COPIED)
    if state.saved_memory:
        why = refuses(
            "it has memory in a managed save image, which would be left behind: start it, or remove the image"
        )
        yield kept("saved memory", why, why, why)
