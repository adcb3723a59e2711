"""What single fields of OpenStack's JSON mean: they changed their shape over the years."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from models.errors import BadInput
from models.fleet import VmState

MIB, GIB = 1 << 20, 1 << 30

_BY_STATUS = {"ACTIVE": VmState.RUNNING, "PAUSED": VmState.PAUSED, "SHUTOFF": VmState.SHUTOFF}
_BY_POWER = {
    "1": VmState.RUNNING,
    "running": VmState.RUNNING,
    "3": VmState.PAUSED,
    "paused": VmState.PAUSED,
}
"""Nova's power states (nova/compute/power_state.py); everything else does not run"""
_PAGES = {"1gb": GIB, "1048576": GIB, "1g": GIB, "large": 2 * MIB, "2mb": 2 * MIB, "2048": 2 * MIB, "2m": 2 * MIB}
"""`hw:mem_page_size` of a flavor; `small` and `any` are no promise of hugepages"""


@dataclass(frozen=True, kw_only=True)
class Flavor:
    """What a server of it may use."""

    memory: int
    """bytes"""
    vcpus: int
    disk: int
    """bytes on the node's own disks, ephemeral ones included"""
    passthrough: bool = False
    """devices of the host that keep it from moving live"""
    hugepage: int = 0
    """bytes of one page; 0: normal ones"""


def text(value: object) -> str:
    """As text, without space around; empty for nothing and for what is no text or number."""
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def number(value: object) -> float | None:
    """A number, also one written as text; None for anything else."""
    try:
        return float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except ValueError:
        return None


def as_mapping(value: object) -> dict[str, Any]:
    """An object, also one written as JSON within JSON, or as `key='value', …`; empty for anything else."""
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    if isinstance(value, str):
        try:
            return as_mapping(json.loads(value)) if value.lstrip().startswith("{") else _assigned(value)
        except (ValueError, RecursionError):
            return {}
    return {}


def _assigned(value: str) -> dict[str, Any]:
    """`hw:cpu_policy='dedicated', pci_passthrough:alias='gpu:1'`, as older clients print properties."""
    pairs = [each.split("=", 1) for each in value.split(", ") if "=" in each]
    return {key.strip(): told.strip().strip("'\"") for key, told in pairs}


def as_rows(value: object) -> list[dict[str, Any]]:
    """The objects of a list, or the one object that is there."""
    if isinstance(value, dict):
        return [cast("dict[str, Any]", value)]
    if isinstance(value, list):
        return [cast("dict[str, Any]", each) for each in cast("list[Any]", value) if isinstance(each, dict)]
    return []


def flavor_of_row(row: Mapping[str, Any], path: Path) -> Flavor:
    """Of `openstack flavor list --long`: RAM in MiB, disks in GiB. Raises BadInput."""
    memory, vcpus = number(row.get("RAM")), number(row.get("VCPUs"))
    if not memory or not vcpus:
        raise BadInput(
            f"{path}: flavor {text(row.get('Name'))[:60]!r} tells no RAM or no VCPUs",
            hint="openstack flavor list --all --long -f json",
        )
    return _flavor(memory, vcpus, row.get("Disk"), row.get("Ephemeral"), row.get("Properties"))


def _flavor(memory: float, vcpus: float, disk: object, ephemeral: object, properties: object) -> Flavor:
    told = {key: text(value).lower() for key, value in as_mapping(properties).items()}
    devices = any(key.startswith(("pci_passthrough:", "resources:VGPU", "resources:CUSTOM_")) for key in told)
    return Flavor(
        memory=int(memory) * MIB,
        vcpus=max(1, int(vcpus)),
        disk=int((number(disk) or 0) + (number(ephemeral) or 0)) * GIB,
        passthrough=devices,
        hugepage=_PAGES.get(told.get("hw:mem_page_size", ""), 0),
    )


def flavor_of_server(row: Mapping[str, Any], flavors: Mapping[str, Flavor]) -> Flavor | None:
    """Whatever the server tells of its flavor: all of it (from microversion 2.47 on), its name, or `name (id)`."""
    for value in (row.get("flavor"), row.get("Flavor"), row.get("Flavor Name"), row.get("Flavor ID")):
        whole = as_mapping(value)
        memory, vcpus = number(whole.get("ram")), number(whole.get("vcpus"))
        if memory and vcpus:
            properties = whole.get("extra_specs", whole.get("properties"))
            return _flavor(memory, vcpus, whole.get("disk"), whole.get("ephemeral"), properties)
        name = text(whole.get("original_name") or whole.get("name") or whole.get("id")) or text(value)
        for known in (name, name.rsplit(" (", 1)[0]):
            if known in flavors:
                return flavors[known]
    return None


def host_of(row: Mapping[str, Any], hypervisors: Mapping[str, object]) -> str | None:
    """The hypervisor that a server is on: by its full hostname, or by the short one where that means one alone."""
    names = [text(row.get(key)) for key in ("OS-EXT-SRV-ATTR:hypervisor_hostname", "Host", "OS-EXT-SRV-ATTR:host")]
    for name in names:
        if name in hypervisors:
            return name
    for name in filter(None, names):
        short = [known for known in hypervisors if known.split(".")[0] == name.split(".")[0]]
        if len(short) == 1:
            return short[0]
    return None


def state_of(row: Mapping[str, Any]) -> tuple[VmState, str | None]:
    """Whether it runs, and why it is not to be moved as it is; None where nothing says so."""
    status = text(row.get("Status") or row.get("status")).upper()
    task = text(row.get("Task State") or row.get("OS-EXT-STS:task_state"))
    doubt: str | None = None
    if status not in _BY_STATUS:
        doubt = f"OpenStack has it as {status or 'nothing known'}"
    elif task and task.lower() not in ("none", "-"):
        doubt = f"OpenStack is at work on it ({task[:40]})"
    power = text(row.get("Power State", row.get("OS-EXT-STS:power_state"))).lower()
    known = _BY_STATUS.get(status)
    # what was once running and is in a state that nobody understands holds its room
    return (known or _BY_POWER.get(power, VmState.RUNNING if not power else VmState.SHUTOFF)), doubt


def cpu_model(value: object) -> str:
    """Of `cpu_info`, an object or JSON in text; empty when it is not told."""
    return text(as_mapping(value).get("model"))
