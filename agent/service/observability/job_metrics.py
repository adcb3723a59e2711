"""What `/metrics` says of what is done beside passes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.service.observability import catalogue
from agent.service.upkeep.jobs import Job, JobCounts, JobOutcome


@dataclass(frozen=True)
class JobMetrics(Collector):
    """As this process counted them."""

    counts: JobCounts

    def collect(self) -> Iterable[Metric]:
        begun, ended = (
            CounterMetricFamily(family.name, family.meaning, labels=list(family.labels))
            for family in (catalogue.JOBS_BEGUN, catalogue.JOBS_ENDED)
        )
        for job in Job:
            begun.add_metric([job], self.counts.begun(job))
            for outcome in JobOutcome:
                ended.add_metric([job, outcome], self.counts.ended(job, outcome))
        yield begun
        yield ended
