"""Samples as Prometheus stored them, with their own times, and the text that promtool takes back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests

from models.errors import MetricsUnavailable
from tools.http_deadline import DeadlineSession


@dataclass(frozen=True)
class RawSeries:
    """One series and its samples."""

    labels: Mapping[str, str]
    """with `__name__`"""
    samples: tuple[tuple[float, str], ...]
    """(unix seconds, value as Prometheus writes it)"""


def raw_series(
    url: str,
    selector: str,
    *,
    at: datetime,
    seconds: int,
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float = 30.0,
) -> list[RawSeries]:
    """What a selector, such as `node_edac_errors{kind="ue"}`, chose within the `seconds` before `at`.

    Raises MetricsUnavailable when Prometheus is unreachable or refuses.
    """
    form = {"query": f"{selector}[{seconds}s]", "time": f"{at.timestamp():.3f}"}
    try:
        with DeadlineSession() as session:
            answer = session.post(
                f"{url.rstrip('/')}/api/v1/query", data=form, headers=dict(headers or {}), timeout=timeout_seconds
            )
        body: Any = answer.json()
        if body["status"] != "success":
            raise MetricsUnavailable(
                f"Prometheus refuses {selector}: {' '.join(str(body.get('error', '')).split())[:200]}"
            )
        return [
            RawSeries(dict(one["metric"]), tuple((float(time), str(value)) for time, value in one["values"]))
            for one in body["data"]["result"]
        ]
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise MetricsUnavailable(f"Prometheus gave no samples of {selector} ({type(error).__name__})") from error


def openmetrics_text(series: Iterable[RawSeries]) -> str:
    """The series as OpenMetrics: those of one metric side by side, each in the order of time, ended by `# EOF`."""
    by_metric: dict[str, list[str]] = defaultdict(list)
    known: set[str] = set()
    for one in series:
        labels = ",".join(
            f'{name}="{_escaped(value)}"' for name, value in sorted(one.labels.items()) if name != "__name__"
        )
        name = f"{one.labels['__name__']}{{{labels}}}"
        if name in known:
            continue  # chosen by two selectors
        known.add(name)
        rows = "".join(f"{name} {value} {time:.3f}\n" for time, value in one.samples)
        by_metric[one.labels["__name__"]].append(rows)
    parts = [f"# TYPE {metric} unknown\n{''.join(rows)}" for metric, rows in sorted(by_metric.items())]
    return "".join(parts) + "# EOF\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
