"""What `/metrics` says of the archives that are read again from time to time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.service.observability import catalogue
from agent.service.observability.families import gauge
from agent.service.upkeep.archive_checks import ROUND_OUTCOMES, ArchiveChecks
from tools.ports.clock import Clock


@dataclass(frozen=True)
class ArchiveMetrics(Collector):
    """As the checks of this process know it. Reads nothing."""

    checks: ArchiveChecks
    clock: Clock

    def collect(self) -> Iterable[Metric]:
        known = self.checks.known
        yield gauge(catalogue.ARCHIVES_UNSOUND, len(known.unsound))
        since = (self.clock.now() - known.last_check).total_seconds() if known.last_check is not None else float("inf")
        yield gauge(catalogue.ARCHIVE_CHECK_AGE, max(0.0, since))
        family = catalogue.ARCHIVE_CHECK_ROUNDS
        rounds = CounterMetricFamily(family.name, family.meaning, labels=list(family.labels))
        for outcome in ROUND_OUTCOMES:
            rounds.add_metric([outcome], self.checks.rounds[outcome])
        yield rounds
