"""What Prometheus reports about itself: which targets it reaches, and how far each node's clock is from ours."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from models.errors import LifeboatError, MetricsUnavailable
from tools.http_deadline import DeadlineSession
from tools.prometheus.metrics import node_name

_KEPT_SECONDS = 60.0


@dataclass(frozen=True)
class PrometheusHealth:
    """What one question to Prometheus found."""

    up: Mapping[str, tuple[int, int]]
    """node → targets that answer, targets in all"""
    down: Mapping[str, tuple[str, ...]]
    """node → jobs of its targets that do not answer"""
    clock_offsets: Mapping[str, float]
    """node → seconds its clock is ahead of this machine's, to about a second; nodes without node_exporter are missing"""


def read_health(url: str, *, node_label: str, timeout_seconds: float, headers: Mapping[str, str]) -> PrometheusHealth:
    """Ask `url`. Raises MetricsUnavailable when it does not answer, or not as Prometheus does."""
    up: dict[str, tuple[int, int]] = {}
    down: dict[str, tuple[str, ...]] = {}
    for labels, value, _ in instant(url, "up", timeout_seconds, headers):
        node = node_name(labels.get(node_label, ""))
        answering, total = up.get(node, (0, 0))
        up[node] = (answering + (value == 1), total + 1)
        if value != 1:
            down[node] = (*down.get(node, ()), labels.get("job", "") or labels.get("instance", ""))
    # Prometheus stamps a sample with its own clock when it scrapes: the difference is the node's clock against its.
    query = "node_time_seconds - timestamp(node_time_seconds)"
    offsets: dict[str, float] = {}
    for labels, value, ahead in instant(url, query, timeout_seconds, headers):
        if math.isfinite(value):
            offsets[node_name(labels.get(node_label, ""))] = value + ahead
    return PrometheusHealth(up, down, offsets)


class NodeClocks:
    """`clock_offset` for the nodes: asked at most once a minute; None where Prometheus does not know it."""

    def __init__(self, url: str, *, node_label: str, timeout_seconds: float, headers: Mapping[str, str]) -> None:
        self._ask = (url, node_label, timeout_seconds, headers)
        self._lock = threading.Lock()
        self._asked = -_KEPT_SECONDS
        self._offsets: Mapping[str, float] = {}

    def offset(self, node: str) -> float | None:
        with self._lock:
            if time.monotonic() - self._asked >= _KEPT_SECONDS:
                url, label, timeout, headers = self._ask
                try:
                    self._offsets = read_health(
                        url, node_label=label, timeout_seconds=timeout, headers=headers
                    ).clock_offsets
                except LifeboatError:
                    self._offsets = {}
                self._asked = time.monotonic()
            return self._offsets.get(node)


def instant(
    url: str, query: str, timeout_seconds: float, headers: Mapping[str, str]
) -> list[tuple[dict[str, str], float, float]]:
    """What an instant query finds now: labels and value of each series, and how far Prometheus's own clock is ahead of ours, to
    half of what the answer took. Raises MetricsUnavailable when nothing answers, or not as Prometheus does."""
    began = time.time()
    try:
        with DeadlineSession() as session:
            answer = session.post(
                f"{url.rstrip('/')}/api/v1/query", data={"query": query}, headers=dict(headers), timeout=timeout_seconds
            )
        ours = (began + time.time()) / 2
        if not answer.ok:
            raise MetricsUnavailable(
                f"Prometheus refuses a query: HTTP {answer.status_code}",
                hint="check prometheus.url and prometheus.headers in the settings",
            )
        result: list[Any] = answer.json()["data"]["result"]
        # A sample of an instant query bears the time at which Prometheus evaluated it.
        return [
            (dict(series["metric"]), float(series["value"][1]), float(series["value"][0]) - ours) for series in result
        ]
    except (ValueError, KeyError, TypeError, IndexError) as error:  # requests' JSON error is a ValueError
        raise MetricsUnavailable(
            f"what answers at prometheus.url is not Prometheus ({type(error).__name__})",
            hint="give the address before /api/v1",
        ) from error
    except requests.RequestException as error:
        raise MetricsUnavailable(
            f"Prometheus does not answer ({type(error).__name__})",
            hint="check prometheus.url in the settings, and that Prometheus runs and listens there",
        ) from error
