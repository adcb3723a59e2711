"""`lifeboat doctor`: is everything there that an evacuation will need, and what mends what is not. Changes nothing, but
for a probe object that is written to the archive store and removed.

A check is a function that returns findings, or raises the LifeboatError that says what is wrong. Add one by appending it
to FLEET_CHECKS or NODE_CHECKS.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cached_property, partial
from typing import TYPE_CHECKING

from agent.pins import Pins
from models.base import Value
from models.errors import LifeboatError
from models.policy import PinRule, Policy

if TYPE_CHECKING:
    from agent.journal import Journal
    from agent.settings import NodeSettings, Settings
    from tools.ports import Clock, Hypervisor
    from tools.prometheus_sight import PrometheusSight

EXPIRES_SOON = timedelta(days=30)
STORE_LOW_BYTES = 10 << 30
PATIENCE_SECONDS = 20.0


class Health(StrEnum):
    OK = "ok"
    WARN = "warn"
    """works now; look at it in daylight"""
    FAIL = "fail"
    """an evacuation that needs it would fail"""
    UNKNOWN = "unknown"
    """could not be found out, which is not ok"""


class Finding(Value):
    check: str
    subject: str
    """a node, a pair of nodes, a file or an address"""
    health: Health
    what: str
    mend: str = ""


@dataclass(frozen=True)
class Patient:
    """What is examined."""

    settings: Settings
    policy: Policy
    nodes: Mapping[str, Hypervisor]
    journal: Journal
    pins: Pins
    clock: Clock

    @cached_property
    def prometheus(self) -> PrometheusSight:
        """One look for all checks. Raises MetricsUnavailable."""
        from tools.prometheus_sight import look

        prometheus = self.settings.prometheus
        assert prometheus is not None
        return look(
            prometheus.url,
            node_label=prometheus.node_label,
            timeout_seconds=prometheus.timeout_seconds,
            headers=prometheus.headers,
        )


FleetCheck = Callable[[Patient], list[Finding]]
NodeCheck = Callable[[Patient, "NodeSettings"], list[Finding]]


def check_telemetry(patient: Patient) -> list[Finding]:
    """Prometheus answers, and scrapes something of every node."""
    if patient.settings.prometheus is None:
        mend = "set prometheus.url in the settings"
        return [
            Finding(
                check="telemetry",
                subject="prometheus",
                health=Health.WARN,
                what="not configured: every node's risk is unknown",
                mend=mend,
            )
        ]
    up = patient.prometheus.up
    found: list[Finding] = []
    for node in patient.settings.nodes:
        answering, total = up.get(node.name, (0, 0))
        health = Health.OK if total and answering == total else Health.WARN if answering else Health.FAIL
        what = f"{answering} of {total} targets answer" if total else "no target bears its name"
        mend = "see Prometheus's page of targets" if total else "check prometheus.node_label and the node's name"
        found.append(
            Finding(
                check="telemetry", subject=node.name, health=health, what=what, mend="" if health is Health.OK else mend
            )
        )
    return found


def check_clocks(patient: Patient) -> list[Finding]:
    """Each node's clock against this machine's, as Prometheus sees it."""
    offsets = patient.prometheus.clock_offsets if patient.settings.prometheus is not None else {}
    most = patient.policy.migration.max_clock_difference.total_seconds()
    found: list[Finding] = []
    for node in patient.settings.nodes:
        offset = offsets.get(node.name)
        if offset is None:
            found.append(
                Finding(
                    check="clock",
                    subject=node.name,
                    health=Health.UNKNOWN,
                    what="nothing tells its time: libvirt does not, and Prometheus has no node_time_seconds",
                    mend="run node_exporter there",
                )
            )
            continue
        wrong = abs(offset) > most
        found.append(
            Finding(
                check="clock",
                subject=node.name,
                health=Health.FAIL if wrong else Health.OK,
                what=f"{offset:+.1f} s against this machine (at most {most:g} s)",
                mend="mend time synchronisation (chrony) there or here" if wrong else "",
            )
        )
    return found


def check_libvirt(patient: Patient, node: NodeSettings) -> list[Finding]:
    """libvirt answers: its versions and its vms."""
    hypervisor = patient.nodes[node.name]
    versions, vms = hypervisor.versions(), hypervisor.vms()
    found = [
        Finding(
            check="libvirt",
            subject=node.name,
            health=Health.OK,
            what=f"libvirt {_version(versions.libvirt)}, QEMU {_version(versions.qemu)}, {len(vms)} vms",
        )
    ]
    found += [
        Finding(
            check="label",
            subject=f"{node.name}/{vm.name}",
            health=Health.WARN,
            what=vm.label_warning,
            mend="mend the vm's <lifeboat:vm> metadata; until then it is not archived",
        )
        for vm in vms
        if vm.label_warning
    ]
    return found


def check_identity(patient: Patient, node: NodeSettings) -> list[Finding]:
    """What the other nodes will be shown: port, certificate, its end, and its pin."""
    hypervisor = patient.nodes[node.name]
    closed = hypervisor.closed_port()
    if closed is not None:
        return [
            Finding(
                check="port",
                subject=node.name,
                health=Health.FAIL,
                what=f"no connection at {closed}",
                mend="check libvirtd's listener and the firewall there",
            )
        ]
    if not patient.policy.migration.tls_required:
        return [
            Finding(
                check="certificate",
                subject=node.name,
                health=Health.WARN,
                what="policy lets guests' memory cross the network in the clear",
                mend="migration.tls_required: true",
            )
        ]
    certificate = hypervisor.tls_certificate()
    left = certificate.expires_at - patient.clock.now()
    soon = left < EXPIRES_SOON
    found = [
        Finding(
            check="certificate",
            subject=node.name,
            health=Health.WARN if soon else Health.OK,
            what=f"holds until {certificate.expires_at:%Y-%m-%d} ({left.days} days), sha256 {certificate.sha256[:16]}…",
            mend="renew it, then --repin" if soon else "",
        )
    ]
    rule = patient.policy.migration.pins
    pin = patient.pins.known().get(node.name)
    if rule is PinRule.OFF or (pin is not None and pin.sha256 == certificate.sha256):
        what = "pins are off" if rule is PinRule.OFF else f"as pinned on {pin.pinned_at:%Y-%m-%d}" if pin else ""
        found.append(Finding(check="pin", subject=node.name, health=Health.OK, what=what))
    elif pin is None:
        needed = rule is PinRule.REQUIRED
        found.append(
            Finding(
                check="pin",
                subject=node.name,
                health=Health.FAIL if needed else Health.WARN,
                what="none" if needed else "none: the first move there would pin what it sees",
                mend="compare the fingerprint on the node, then `lifeboat doctor --pin`",
            )
        )
    else:
        found.append(
            Finding(
                check="pin",
                subject=node.name,
                health=Health.FAIL,
                what=f"another certificate is pinned: {pin.sha256[:16]}…",
                mend=f"if it was renewed, compare it there, then `lifeboat doctor --repin {node.name}`",
            )
        )
    return found


def check_cpu_pairs(patient: Patient, node: NodeSettings) -> list[Finding]:
    """To which others a vm with all of this node's CPU (host-passthrough) could go."""
    xml = _passthrough_domain()
    cpu = patient.nodes[node.name].host_cpu()
    found: list[Finding] = []
    for other in patient.settings.nodes:
        if other.name == node.name:
            continue
        pair = f"{node.name} → {other.name}"
        try:
            missing = patient.nodes[other.name].cpu_compatible(xml, cpu)
        except LifeboatError as error:
            found.append(Finding(check="cpu", subject=pair, health=Health.UNKNOWN, what=error.message, mend=error.hint))
            continue
        what = f"lacks {missing}" if missing else "has every CPU feature"
        mend = "vms there need a CPU model that both have, not host-passthrough" if missing else ""
        health = Health.WARN if missing else Health.OK
        found.append(Finding(check="cpu", subject=pair, health=health, what=what, mend=mend))
    return found


def check_hardware_logs(patient: Patient, node: NodeSettings) -> list[Finding]:
    """The BMC answers and the log files can be read."""
    from agent.live import hardware_logs

    found: list[Finding] = []
    only = patient.settings.model_copy(update={"nodes": (node,)})
    for log in hardware_logs(only)[node.name]:
        events = log.events(since=patient.clock.now() - timedelta(days=1))
        kind = "BMC" if type(log).__name__ == "SystemEventLog" else "log files"
        found.append(
            Finding(
                check="hardware log",
                subject=node.name,
                health=Health.OK,
                what=f"{kind}: {len(events)} hardware events in a day",
            )
        )
    return found or [
        Finding(
            check="hardware log",
            subject=node.name,
            health=Health.WARN,
            what="none is configured",
            mend="set bmc or hardware_logs for it in the settings",
        )
    ]


def check_archives(patient: Patient) -> list[Finding]:
    """The store takes an object, gives it back and lets it go."""
    from tools.archive_files import StoreFiles

    url = patient.settings.archive_url
    if not url:
        return [
            Finding(
                check="archives",
                subject="store",
                health=Health.WARN,
                what="none: nothing can be archived",
                mend="set archive_url in the settings",
            )
        ]
    files = StoreFiles(url, patient.settings.archive_options)
    probe = f".lifeboat-doctor-{uuid.uuid4()}"
    with files.explained("the probe"):
        try:
            files.make_directory(probe)
            files.publish(f"{probe}/probe", b"lifeboat doctor was here\n")  # reads it back, too
        finally:
            files.remove(probe)
    free = files.free_bytes()
    low = free is not None and free < STORE_LOW_BYTES
    room = "free space not known" if free is None else f"{free / 1e9:.1f} GB free"
    return [
        Finding(
            check="archives",
            subject=url,
            health=Health.WARN if low else Health.OK,
            what=f"writes, reads and removes; {room}",
            mend="make room" if low else "",
        )
    ]


def check_journal(patient: Patient) -> list[Finding]:
    """The audit log's chain holds. (That it can be written was seen when it was opened.)"""
    count = patient.journal.verify()
    return [
        Finding(
            check="journal",
            subject=str(patient.journal.path),
            health=Health.OK,
            what=f"{count} records, the chain holds",
        )
    ]


def check_language_model(patient: Patient) -> list[Finding]:
    """The endpoint answers, where one is configured. No model is asked anything."""
    llm = patient.settings.llm
    if llm is None:
        return []
    import requests

    key = llm.api_key_file.read_text().strip() if llm.api_key_file is not None else ""
    try:
        answer = requests.get(
            f"{llm.base_url.rstrip('/')}/models", timeout=5, headers={"Authorization": f"Bearer {key}"} if key else {}
        )
        why = "" if answer.ok else f"HTTP {answer.status_code}"
    except (requests.RequestException, OSError) as error:
        why = type(error).__name__
    what = f"does not answer ({why}): the solver plans" if why else "answers"
    return [
        Finding(
            check="language model",
            subject=llm.base_url,
            health=Health.WARN if why else Health.OK,
            what=what,
            mend="check llm.base_url and llm.api_key_file" if why else "",
        )
    ]


FLEET_CHECKS: list[FleetCheck] = [check_telemetry, check_clocks, check_archives, check_journal, check_language_model]
NODE_CHECKS: list[NodeCheck] = [check_libvirt, check_identity, check_cpu_pairs, check_hardware_logs]


def examine(
    patient: Patient,
    fleet_checks: Sequence[FleetCheck] = FLEET_CHECKS,
    node_checks: Sequence[NodeCheck] = NODE_CHECKS,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> list[Finding]:
    """Every check at once, in the order they stand; one that hangs or fails stops none of the others."""
    asked = [(_name(check), "lifeboat", partial(check, patient)) for check in fleet_checks]
    asked += [
        (_name(check), n.name, partial(check, patient, n)) for n in patient.settings.nodes for check in node_checks
    ]
    running = [(name, subject, _Running(ask)) for name, subject, ask in asked]
    deadline = time.monotonic() + patience_seconds
    found: list[Finding] = []
    for name, subject, each in running:
        each.done.wait(max(0.0, deadline - time.monotonic()))
        if not each.done.is_set():
            found.append(
                Finding(
                    check=name,
                    subject=subject,
                    health=Health.UNKNOWN,
                    what=f"no answer within {patience_seconds:g} s",
                    mend="look at it by hand",
                )
            )
        elif isinstance(each.error, LifeboatError):
            found.append(
                Finding(check=name, subject=subject, health=Health.FAIL, what=each.error.message, mend=each.error.hint)
            )
        elif each.error is not None:
            found.append(
                Finding(
                    check=name,
                    subject=subject,
                    health=Health.UNKNOWN,
                    what=f"the check broke: {each.error!r}",
                    mend="report this",
                )
            )
        else:
            found += each.findings
    return found


class _Running:
    """Not a pool: a node that hangs must not keep the process from ending."""

    def __init__(self, ask: Callable[[], list[Finding]]) -> None:
        self.findings: list[Finding] = []
        self.error: Exception | None = None
        self.done = threading.Event()
        self._ask = ask
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self.findings = self._ask()
        except Exception as error:  # told in the finding
            self.error = error
        finally:
            self.done.set()


def _name(check: Callable[..., object]) -> str:
    return getattr(check, "__name__", "check").removeprefix("check_").replace("_", " ")


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _passthrough_domain() -> str:
    return (
        "<domain type='kvm'><name>doctor</name><memory>1</memory><os><type arch='x86_64'>hvm</type></os>"
        "<cpu mode='host-passthrough'/></domain>"
    )
