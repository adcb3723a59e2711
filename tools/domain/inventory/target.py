"""What a guest needs of a target, against what the target says it has. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from models.plan import ActionKind
from tools.domain.inventory.firmware import CHOSEN_BY_LIBVIRT
from tools.domain.inventory.resource import Inventory, Outcome, Resource, ResourceKind
from tools.domain.numa import parse_nodeset
from tools.ports.compatibility import HostResources


@dataclass(frozen=True, kw_only=True)
class TargetVerdict:
    """What became of each resource that has to be present at a target."""

    present: tuple[Resource, ...] = ()
    missing: tuple[Resource, ...] = ()
    """the target says that it has no such thing"""
    untold: tuple[Resource, ...] = ()
    """no answer of libvirt's tells: QEMU finds out when it starts there"""

    def why_not(self) -> str | None:
        """What is missing, in one line; None when nothing is known to be."""
        return "; ".join(dict.fromkeys(f"{each.what} {each.where}" for each in self.missing)) or None


def compare(
    inventory: Inventory, has: HostResources, move: ActionKind, *, source_has: HostResources | None = None
) -> TargetVerdict:
    """Judge everything that the move leaves to the target to have.

    A target is believed to lack something only where the source, which has it, lists it (`source_has`, where given): a
    libvirt in a container or without udev lists no bridge that its guests use all the same.
    """
    present: list[Resource] = []
    missing: list[Resource] = []
    untold: list[Resource] = []
    for resource in inventory.resources:
        if resource.fate(move).outcome is not Outcome.PRESENT:
            continue
        judge = _JUDGES.get(resource.kind)
        there = judge(resource, has) if judge is not None and resource.fate(move).why == "" else None
        if there is False and source_has is not None and judge is not None and not judge(resource, source_has):
            there = None
        (untold if there is None else present if there else missing).append(resource)
    return TargetVerdict(present=tuple(present), missing=tuple(missing), untold=tuple(untold))


def _among(names: Callable[[HostResources], frozenset[str] | None]) -> Callable[[Resource, HostResources], bool | None]:
    def judge(resource: Resource, has: HostResources) -> bool | None:
        known = names(has)
        return None if known is None or resource.where in ("", CHOSEN_BY_LIBVIRT) else resource.where in known

    return judge


def _firmware(resource: Resource, has: HostResources) -> bool | None:
    """libvirt lists what its own descriptions name: an image that is not among them may be there all the same."""
    return True if has.firmware is not None and resource.where in has.firmware else None


def _cpus(resource: Resource, has: HostResources) -> bool | None:
    numbers = frozenset(_numbers(resource.where))
    return None if has.cpus is None or not numbers else numbers <= has.cpus


def _numa_nodes(resource: Resource, has: HostResources) -> bool | None:
    numbers = frozenset(_numbers(resource.where))
    return None if has.numa_nodes is None or not numbers else numbers <= has.numa_nodes


def _numbers(nodeset: str) -> Iterator[int]:
    """None for what is no list of numbers, such as `resctrl`."""
    try:
        yield from parse_nodeset(nodeset)
    except ValueError:
        return


_JUDGES: dict[ResourceKind, Callable[[Resource, HostResources], bool | None]] = {
    ResourceKind.EMULATOR: _among(lambda has: has.emulators),
    ResourceKind.FIRMWARE: _firmware,
    ResourceKind.NETWORK: _among(lambda has: has.networks),
    ResourceKind.BRIDGE: _among(lambda has: has.interfaces),
    ResourceKind.HOST_INTERFACE: _among(lambda has: has.interfaces),
    ResourceKind.NETWORK_FILTER: _among(lambda has: has.network_filters),
    ResourceKind.SECRET: _among(lambda has: has.secrets),
    ResourceKind.STORAGE_POOL: _among(lambda has: has.storage_pools),
    ResourceKind.HOST_CPUS: _cpus,
    ResourceKind.NUMA_NODES: _numa_nodes,
}
