"""The doctor's checks of the nodes: libvirt, CPUs, what the other nodes are shown, hardware logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.doctor.examine import CheckContext, Finding, Health, finding
from models.errors import LifeboatError, NodeUnreachable
from models.policy.policy import PinRule
from models.text import visible
from tools.domain.xml import parse_domain
from tools.ports.compatibility import Compatibility, version
from tools.ports.telemetry import DoubtfulLog

if TYPE_CHECKING:
    from agent.settings import NodeSettings

EXPIRES_SOON = timedelta(days=30)
_DAY = timedelta(days=1)
_NODES_AT_ONCE = 16


def check_libvirt(context: CheckContext, node: NodeSettings) -> Iterator[Finding]:
    """libvirt answers: its versions and its vms."""
    hypervisor = context.nodes[node.name]
    versions, vms = hypervisor.versions(), hypervisor.vms()
    counted = f"{len(vms)} vm{'' if len(vms) == 1 else 's'}"
    what = f"answers: libvirt {version(versions.libvirt)}, QEMU {version(versions.qemu)}, {counted}"
    yield finding("libvirt", node.name, Health.OK, what)
    for vm in vms:
        if vm.label_warning:
            fix = "fix the vm's <lifeboat:vm> metadata; until then it is not archived"
            yield finding("label", f"{node.name}/{vm.name}", Health.WARN, vm.label_warning, fix)


def check_identities(_: CheckContext, node: NodeSettings) -> Iterator[Finding]:
    """Who looks may not write, and who acts may. Nothing where one identity does both."""
    if node.libvirt_read_uri is None:
        return
    from tools.libvirt.permissions import may_write

    if may_write(node.name, node.libvirt_uri):
        yield finding("identity", f"{node.name}, acting", Health.OK, "libvirt_uri may write")
    else:
        what = "libvirt_uri may not write: no vm moves from or to it"
        fix = "give that identity the rights of deploy/polkit/60-lifeboat.rules"
        yield finding("identity", f"{node.name}, acting", Health.FAIL, what, fix)
    try:
        writes = may_write(node.name, node.libvirt_read_uri)
    except NodeUnreachable:
        writes = False  # it lets nobody in who could: that looks get through is told by the line on libvirt
    what = "libvirt_read_uri may write as well" if writes else "libvirt_read_uri may not write"
    fix = "let it in to read only: see docs/least-privilege.md" if writes else ""
    yield finding("identity", f"{node.name}, looking", Health.WARN if writes else Health.OK, what, fix)


def check_certificate(context: CheckContext, node: NodeSettings) -> Iterator[Finding]:
    """What the other nodes are shown: port, certificate, its end, and its pin."""
    name, hypervisor, policy = node.name, context.nodes[node.name], context.policy.migration
    closed = hypervisor.closed_port()
    if closed is not None:
        what = f"no connection at {closed}, where the other nodes reach it: no vm moves there"
        yield finding("port", name, Health.FAIL, what, "check the node, its libvirtd's listener and the firewall")
        return
    if not policy.tls_required:
        what = "policy lets guests' memory cross the network in the clear"
        yield finding("certificate", name, Health.WARN, what, "migration.tls_required: true")
        return
    shown = hypervisor.tls_certificate()
    left = shown.expires_at - context.clock.now()
    until = f"holds until {shown.expires_at:%Y-%m-%d} ({left.days} days), sha256 {shown.sha256[:16]}…"
    soon = left < EXPIRES_SOON
    fix = f"renew it, then `lifeboat doctor --repin {name}`" if soon else ""
    yield finding("certificate", name, Health.WARN if soon else Health.OK, until, fix)
    yield _pin(context, name, shown.sha256, policy.pins)


def _pin(context: CheckContext, name: str, sha256: str, rule: PinRule) -> Finding:
    if rule is PinRule.OFF:
        return finding("pin", name, Health.OK, "policy has pins off")
    pin = context.pins.known().get(name)
    if pin is None:
        needed = rule is PinRule.REQUIRED
        what = "none, and policy requires one" if needed else "none: the first move there would pin what it is shown"
        fix = "compare the fingerprint on the node, then `lifeboat doctor --pin`"
        return finding("pin", name, Health.FAIL if needed else Health.WARN, what, fix)
    if pin.sha256 == sha256:
        return finding("pin", name, Health.OK, f"shows what was pinned on {pin.pinned_at:%Y-%m-%d}")
    what = f"shows sha256 {sha256[:16]}…, pinned is {pin.sha256[:16]}…: no vm moves there"
    fix = f"find out who changed it; if it was renewed, compare it there, then `lifeboat doctor --repin {name}`"
    return finding("pin", name, Health.FAIL, what, fix)


def check_cpu(context: CheckContext) -> Iterator[Finding]:
    """Which nodes could take each node's vms, were these given all the CPU that their node can give; and what fits all."""
    guests_by_kind: dict[str, dict[str, str]] = {"kvm": {}, "qemu": {}}
    answering: dict[str, Compatibility] = {}
    with ThreadPoolExecutor(max_workers=_NODES_AT_ONCE) as pool:
        widest_guests = list(pool.map(_widest_guests, context.nodes.values()))
    for (name, node), widest in zip(context.nodes.items(), widest_guests, strict=True):
        if widest is None:
            continue  # its own line says that it does not answer
        answering[name] = node
        for kind, guest in widest.items():
            guests_by_kind[kind][name] = guest
    slow = [name for name in answering if name not in guests_by_kind["kvm"]]
    if slow:
        what = "no KVM: vms there are emulated, which is slow"
        yield finding(
            "cpu", ", ".join(slow), Health.WARN, what, "switch virtualisation on in the firmware there; check /dev/kvm"
        )
    guests = guests_by_kind["kvm"] or guests_by_kind["qemu"]
    if len(guests) < 2:
        return
    lacks = _lacks(guests, answering)
    hint = "give its vms a CPU model that all nodes have"
    if lacks:
        cpus = [parse_domain(guest).cpu_xml or "" for guest in guests.values()]
        name, guest = next(iter(guests.items()))
        common = answering[name].common_cpu_model(guest, cpus)
        hint = (
            f"give its vms the CPU model {common}, which fits all {len(guests)} nodes that answer" if common else hint
        )
    models = {name: parse_domain(guest).cpu_model for name, guest in guests.items()}
    everywhere = [name for name in guests if not any(source == name for source, _ in lacks)]
    for model in sorted({models[name] for name in everywhere}):
        subject = ", ".join(name for name in everywhere if models[name] == model)
        yield finding("cpu", subject, Health.OK, f"{model}: vms can run on every other node that answers")
    for (source, target), lack in lacks.items():
        model = models[source]
        what = f"vms that use all of its CPU ({model}) can't move to {target}, which lacks {visible(lack)}"
        yield finding("cpu", source, Health.WARN, what, hint)


def _widest_guests(node: Compatibility) -> dict[str, str] | None:
    """By kind, where the node has that; None when it does not answer."""
    try:
        return {kind: guest for kind in ("kvm", "qemu") if (guest := node.widest_guest(kind))}
    except NodeUnreachable:
        return None


def _lacks(guests: Mapping[str, str], nodes: Mapping[str, Compatibility]) -> dict[tuple[str, str], str]:
    """Source, target → what the target lacks. Asked once for each two CPUs that differ, however many nodes have them."""
    checked: dict[tuple[str, str], str | None] = {}
    answer: dict[tuple[str, str], str] = {}
    for source, guest in guests.items():
        for target, other in guests.items():
            if guest == other:
                continue
            if (guest, other) not in checked:
                checked[guest, other] = nodes[target].cpu_compatible(guest, "")
            lack = checked[guest, other]
            if lack is not None:
                answer[source, target] = lack
    return answer


def check_hardware_log(context: CheckContext, node: NodeSettings) -> Iterator[Finding]:
    """The BMC answers, and every collected log can be read."""
    from agent.observe.sources import hardware_logs

    only = context.settings.model_copy(update={"nodes": (node,)})
    logs = hardware_logs(only)[node.name]
    if not logs:
        what = "none is configured: failing hardware shows in the metrics only"
        yield finding("hardware log", node.name, Health.WARN, what, "set bmc or hardware_logs for it in the settings")
    readable: list[str] = []
    count = 0
    for log in logs:
        try:
            count += len(log.events(since=context.clock.now() - _DAY))
        except LifeboatError as error:
            yield finding("hardware log", node.name, Health.FAIL, error.message, error.hint)
            continue
        if isinstance(log, DoubtfulLog):
            for doubt in log.doubts():
                fix = "see docs/field.md; `lifeboat doctor --evidence DIR` gathers what a report needs"
                yield finding("hardware log", node.name, Health.WARN, f"{log.title}: {doubt}", fix)
        readable.append(_LOGS.get(type(log).__name__, "log"))
    if readable:
        events = f"{count or 'no'} hardware event{'' if count == 1 else 's'} in the last day"
        yield finding("hardware log", node.name, Health.OK, f"{events}; read from {', '.join(readable)}")


_LOGS = {
    "SystemEventLog": "the BMC",
    "LogFiles": "log files",
    "JournalExport": "journal exports",
    "LokiLog": "Loki",
}
