"""Prometheus' own objects for the families of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from agent.service.observability.catalogue import Family, Per


def counter(family: Family, registry: CollectorRegistry) -> Counter:
    """With a series for each value of its labels: one that begins at 1 has never increased, for Prometheus."""
    made = Counter(family.name, family.meaning, list(family.labels), registry=registry)
    for values in _combinations(family):
        made.labels(*values)
    return made


def histogram(family: Family, registry: CollectorRegistry) -> Histogram:
    """As `counter`."""
    made = Histogram(family.name, family.meaning, list(family.labels), buckets=family.buckets, registry=registry)
    for values in _combinations(family):
        made.labels(*values)
    return made


def gauge(family: Family, value: float) -> Metric:
    """One that has no labels."""
    made = GaugeMetricFamily(family.name, family.meaning)
    made.add_metric([], float(value))
    return made


def gauges(family: Family, values: Mapping[tuple[str, ...], float]) -> Metric:
    """Values by those of its labels, in their order."""
    made = GaugeMetricFamily(family.name, family.meaning, labels=list(family.labels))
    for labels, value in values.items():
        made.add_metric(labels, float(value))
    return made


def _combinations(family: Family) -> list[tuple[str, ...]]:
    known = [values for values in family.labels.values() if not isinstance(values, Per)]
    return list(product(*known)) if known else []
