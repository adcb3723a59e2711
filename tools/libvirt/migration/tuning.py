"""What of a running guest libvirt lets one change for a migration, or learn before it: disk limits, dirty rate, agent."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any, cast

import libvirt
import libvirt_qemu

from tools.domain.xml import parse_domain
from tools.ports.migration import IoLimits

_BYTES = ("total_bytes_sec", "read_bytes_sec", "write_bytes_sec")
_POLL_SECONDS = 0.2
_AGENT_SECONDS = 5
_MIB = 1 << 20


def read_io_limits(domain: libvirt.virDomain) -> IoLimits:
    """The limits that are set on each writable disk, and the three on bytes per second in any case."""
    limits: IoLimits = {}
    for disk in parse_domain(domain.XMLDesc(0)).writable_disks:
        tuning: Mapping[str, Any] = cast("Any", domain.blockIoTune(disk.device, libvirt.VIR_DOMAIN_AFFECT_LIVE))
        limits[disk.device] = {
            name: int(value) for name, value in tuning.items() if isinstance(value, int) and (value or name in _BYTES)
        }
    return limits


def blockers_from_qemu(connection: libvirt.virConnect, uuid: str) -> tuple[str, ...]:
    """QEMU's own reasons (`blocked-reasons` of query-migrate, from QEMU 6.0 on; an older one tells none). libvirt asks for them
    too, from 8.5 on, but has no call that passes them on: this one marks the guest as tainted (custom-monitor). Raises
    libvirtError."""
    domain = connection.lookupByUUIDString(uuid)
    answer: Any = json.loads(libvirt_qemu.qemuMonitorCommand(domain, '{"execute": "query-migrate"}', 0))
    reasons: Any = answer.get("return", {}).get("blocked-reasons", ())
    return tuple(str(reason) for reason in reasons)


def write_io_limits(domain: libvirt.virDomain, limits: IoLimits) -> None:
    """Of the running guest alone."""
    for device, figures in limits.items():
        domain.setBlockIoTune(device, cast("Any", figures), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def start_dirty_rate(domain: libvirt.virDomain, seconds: int) -> None:
    """Page sampling: QEMU hashes a few hundred pages per GiB twice. It costs the guest nothing, unlike dirty logging."""
    domain.startDirtyRateCalc(seconds, libvirt.VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING)


def read_dirty_rate(connection: libvirt.virConnect, domain: libvirt.virDomain) -> float | None:
    """Bytes per second once measured, None while QEMU measures."""
    records: Any = connection.domainListGetStats([domain], libvirt.VIR_DOMAIN_STATS_DIRTYRATE, 0)
    stats: Mapping[str, Any] = records[0][1] if records else {}
    if stats.get("dirtyrate.calc_status") != libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED:
        return None
    return float(int(stats["dirtyrate.megabytes_per_second"]) * _MIB)


def measured_dirty_rate(connection: libvirt.virConnect, domain: libvirt.virDomain, seconds: int) -> float | None:
    """None when QEMU did not come to a figure in time."""
    start_dirty_rate(domain, seconds)
    deadline = time.monotonic() + seconds + 3.0
    time.sleep(seconds)
    while (rate := read_dirty_rate(connection, domain)) is None and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return rate


def agent_answers(domain: libvirt.virDomain) -> bool | None:
    """Whether the guest's agent answers a ping; None when none is connected."""
    if not has_agent(domain.XMLDesc(0)):
        return None
    try:
        libvirt_qemu.qemuAgentCommand(domain, '{"execute": "guest-ping"}', _AGENT_SECONDS, 0)
    except libvirt.libvirtError:
        return False
    return True


def has_agent(xml: str) -> bool:
    """Whether the domain's guest agent is connected, by its running definition."""
    return any(
        channel.get("name") == "org.qemu.guest_agent.0" and channel.get("state") == "connected"
        for channel in ET.fromstring(xml).findall("./devices/channel/target")  # noqa: S314 — libvirt wrote it
    )
