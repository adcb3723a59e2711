"""`lifeboat doctor`: is everything there that an evacuation will need, and what mends what is not.

A check is a function that yields findings, or raises the LifeboatError that says what is wrong. Which there are:
`agent.doctor.checks`.
"""

from __future__ import annotations

import threading
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
    running = [(name, subject, _Running(ask)) for name, subject, ask in asked]
    deadline = time.monotonic() + patience_seconds
    findings: list[Finding] = []
    for name, subject, each in running:
        if not each.done.wait(max(0.0, deadline - time.monotonic())):
            health = (
                Health.UNKNOWN if subject == "lifeboat" else Health.FAIL
            )  # a move would not wait for a node, either
            what = f"no answer within {patience_seconds:g} s"
            findings.append(finding(name, subject, health, what, "look at it by hand"))
            continue
        findings += each.findings
        if isinstance(each.error, LifeboatError):
            findings.append(finding(name, subject, Health.FAIL, each.error.message, each.error.hint))
        elif each.error is not None:
            findings.append(finding(name, subject, Health.UNKNOWN, f"the check broke: {each.error!r}", "report this"))
    return findings


class _Running:
    """Not a pool: a node that hangs must not keep the process from ending."""

    def __init__(self, ask: Callable[[], Iterable[Finding]]) -> None:
        self.findings: list[Finding] = []
        self.error: Exception | None = None
        self.done = threading.Event()
        self._ask = ask
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self.findings.extend(self._ask())  # what was found before it raised stays
        except Exception as error:  # told in the finding
            self.error = error
        finally:
            self.done.set()


def _name(check: Callable[..., object]) -> str:
    return getattr(check, "__name__", "check").removeprefix("check_").replace("_", " ")
