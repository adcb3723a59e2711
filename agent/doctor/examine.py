"""Run the doctor's checks: is everything there that an evacuation will need, and how to fix what is not.

A check is a function that yields findings, or raises the LifeboatError that says what is wrong. All of them are listed in
`agent.doctor.checks`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from typing import TYPE_CHECKING

from pydantic import Field

from agent.state.certificate_pins import Pins
from models.base import Value
from models.errors import LifeboatError
from models.extras import extra_missing
from models.policy.policy import Policy
from tools.bounded_call import BoundedCall

if TYPE_CHECKING:
    from agent.settings import NodeSettings, PrometheusSettings, Settings
    from tools.ports.clock import Clock
    from tools.ports.hypervisor import Hypervisor
    from tools.ports.journal import Journal
    from tools.prometheus.health import PrometheusHealth

PATIENCE_SECONDS = 20.0


class Health(StrEnum):
    OK = "ok"
    WARN = "warn"
    """works now; fix it before it is needed"""
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
    fix: str = Field(default="", serialization_alias="mend")
    """what to do about it; `--json` calls it `mend`, as it always has"""


def finding(check: str, subject: str, health: Health, what: str, fix: str = "") -> Finding:
    return Finding(check=check, subject=subject, health=health, what=what, fix=fix)


@dataclass(frozen=True, kw_only=True)
class CheckContext:
    """What the checks examine."""

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
    def prometheus_health(self) -> PrometheusHealth:
        """Asked once for all checks. Raises MetricsUnavailable; only where Prometheus is configured."""
        from tools.prometheus.health import read_health

        prometheus = self.settings.prometheus
        assert prometheus is not None
        return read_health(
            prometheus.url,
            node_label=prometheus.node_label,
            timeout_seconds=prometheus.timeout_seconds,
            headers=prometheus.headers,
        )


FleetCheck = Callable[[CheckContext], Iterable[Finding]]
NodeCheck = Callable[[CheckContext, "NodeSettings"], Iterable[Finding]]


def run_checks(
    context: CheckContext,
    fleet_checks: Sequence[FleetCheck],
    node_checks: Sequence[NodeCheck],
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> list[Finding]:
    """Every check at once, in the order they stand; one that hangs or fails stops none of the others."""
    checks = [(_name(check), "lifeboat", partial(check, context)) for check in fleet_checks]
    checks += [
        (_name(check), node.name, partial(check, context, node))
        for node in context.settings.nodes
        for check in node_checks
    ]
    running = [_start(name, subject, check) for name, subject, check in checks]
    deadline = time.monotonic() + patience_seconds
    findings: list[Finding] = []
    for each in running:
        if not each.call.wait(deadline - time.monotonic()):
            # A move would not wait for a node, either.
            health = Health.UNKNOWN if each.subject == "lifeboat" else Health.FAIL
            what = f"no answer within {patience_seconds:g} s"
            findings.append(finding(each.name, each.subject, health, what, "check it by hand"))
            continue
        findings += each.findings
        match each.call.error:
            case None:
                pass
            case LifeboatError() as error:
                findings.append(finding(each.name, each.subject, Health.FAIL, error.message, error.hint))
            case ModuleNotFoundError() as error if (lacking := extra_missing(error)) is not None:
                findings.append(finding(each.name, each.subject, Health.FAIL, lacking.message, lacking.hint))
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


def _start(name: str, subject: str, check: Callable[[], Iterable[Finding]]) -> _Running:
    findings: list[Finding] = []
    call = BoundedCall(lambda: findings.extend(check()), name=f"doctor-{name}")
    return _Running(name=name, subject=subject, findings=findings, call=call)


def _name(check: Callable[..., object]) -> str:
    return getattr(check, "__name__", "check").removeprefix("check_").replace("_", " ")
