"""`lifeboat doctor`: is everything there that an evacuation will need, and what mends what is not.

A check is a function that yields findings, or raises the LifeboatError that says what is wrong. Which there are:
`agent.doctor.checks`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from typing import TYPE_CHECKING

from agent.state.certificate_pins import Pins
from models.base import Value
from models.errors import LifeboatError
from models.policy import Policy
from tools.bounded_call import BoundedCall

if TYPE_CHECKING:
    from agent.settings import NodeSettings, PrometheusSettings, Settings
    from tools.journal.sqlite import Journal
    from tools.ports.clock import Clock
    from tools.ports.hypervisor import Hypervisor
    from tools.prometheus.health import PrometheusSight

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
    """a node, a file, an address, or `lifeboat` for what belongs to none"""
    health: Health
    what: str
    mend: str = ""


def finding(check: str, subject: str, health: Health, what: str, mend: str = "") -> Finding:
    return Finding(check=check, subject=subject, health=health, what=what, mend=mend)


@dataclass(frozen=True)
class CheckContext:
    """What is examined."""

    settings: Settings
    policy: Policy
    nodes: Mapping[str, Hypervisor]
    journal: Journal
    pins: Pins
    clock: Clock

    @property
    def prometheus(self) -> PrometheusSettings | None:
        return self.settings.prometheus

    @cached_property
    def sight(self) -> PrometheusSight:
        """One look of Prometheus for all checks. Raises MetricsUnavailable; only where Prometheus is configured."""
        from tools.prometheus.health import look

        prometheus = self.settings.prometheus
        assert prometheus is not None
        return look(
            prometheus.url,
            node_label=prometheus.node_label,
            timeout_seconds=prometheus.timeout_seconds,
            headers=prometheus.headers,
        )


FleetCheck = Callable[[CheckContext], Iterable[Finding]]
NodeCheck = Callable[[CheckContext, "NodeSettings"], Iterable[Finding]]


def run_checks(
    patient: CheckContext,
    fleet_checks: Sequence[FleetCheck],
    node_checks: Sequence[NodeCheck],
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> list[Finding]:
    """Every check at once, in the order they stand; one that hangs or fails stops none of the others."""
    asked = [(_name(check), "lifeboat", partial(check, patient)) for check in fleet_checks]
    asked += [
        (_name(check), node.name, partial(check, patient, node))
        for node in patient.settings.nodes
        for check in node_checks
    ]
    running = [_start(name, subject, ask) for name, subject, ask in asked]
    deadline = time.monotonic() + patience_seconds
    findings: list[Finding] = []
    for each in running:
        if not each.call.wait(deadline - time.monotonic()):
            # A move would not wait for a node, either.
            health = Health.UNKNOWN if each.subject == "lifeboat" else Health.FAIL
            what = f"no answer within {patience_seconds:g} s"
            findings.append(finding(each.name, each.subject, health, what, "look at it by hand"))
            continue
        findings += each.findings
        match each.call.error:
            case None:
                pass
            case LifeboatError() as error:
                findings.append(finding(each.name, each.subject, Health.FAIL, error.message, error.hint))
            case error:
                what = f"the check broke: {error!r}"
                findings.append(finding(each.name, each.subject, Health.UNKNOWN, what, "report this"))
    return findings


@dataclass(frozen=True, kw_only=True)
class _Running:
    """One check under way."""

    name: str
    subject: str
    findings: list[Finding]
    """what it has found so far, which stays when it raises"""
    call: BoundedCall[None]


def _start(name: str, subject: str, ask: Callable[[], Iterable[Finding]]) -> _Running:
    findings: list[Finding] = []
    call = BoundedCall(lambda: findings.extend(ask()), name=f"doctor-{name}")
    return _Running(name=name, subject=subject, findings=findings, call=call)


def _name(check: Callable[..., object]) -> str:
    return getattr(check, "__name__", "check").removeprefix("check_").replace("_", " ")
