"""At which hours guests are at work, by what Prometheus says of their processor time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scenes.topology import NOW, Topology

from agent.observe.quiet_hours import by_hour, with_loads
from models.errors import MetricsUnavailable
from models.risk.signal import Signal, SignalHistory


class Prometheus:
    """Answers with the cores each guest took at each hour, as `cores` says; keeps what it was asked."""

    def __init__(self, cores: Callable[[str, int], float]) -> None:
        self.cores, self.asked = cores, ""

    def histories(self, signal: Signal, *, start: datetime, end: datetime, step_seconds: float) -> list[SignalHistory]:
        self.asked = signal.promql
        times = np.arange(start.timestamp(), end.timestamp() + 1, step_seconds)
        hours = [(datetime.fromtimestamp(at, tz=UTC) - timedelta(minutes=30)).hour for at in times]
        return [
            SignalHistory(signal, "a", name, times, np.array([self.cores(name, hour) for hour in hours]))
            for name in ("web", "new")
        ]


def test_the_load_of_each_hour_is_a_share_of_the_busiest() -> None:
    fleet = Topology().node("a").vm("web", on="a").vm("other", on="a").fleet
    told = with_loads(fleet, ["a"], Prometheus(lambda _, hour: 2.0 if 8 <= hour < 18 else 0.1), NOW)
    load = told.vm_by_uuid["uuid-web"].load_by_hour
    assert load is not None
    assert (load[12], load[3]) == (1.0, 0.05)
    assert told.vm_by_uuid["uuid-other"].load_by_hour is None
    assert told.digest() == fleet.digest(), "what guests do by themselves voids no approval"


def test_hours_nobody_saw_count_as_busy_and_a_guest_seen_for_too_few_has_no_load() -> None:
    def cores(name: str, hour: int) -> float:
        if name == "new":
            return 1.0 if hour < 12 else float("nan")
        return float("nan") if hour == 5 else 0.5 + hour / 24

    signal_of = Prometheus(cores)
    fleet = Topology().node("a").vm("web", on="a").vm("new", on="a").fleet
    told = with_loads(fleet, ["a"], signal_of, NOW)
    load = told.vm_by_uuid["uuid-web"].load_by_hour
    assert load is not None
    assert load[5] == 1.0
    assert told.vm_by_uuid["uuid-new"].load_by_hour is None
    assert by_hour([]) == {}


def test_a_prometheus_that_does_not_answer_leaves_everything_as_it_is() -> None:
    class Silent:
        def histories(self, *_: object, **__: object) -> list[SignalHistory]:
            raise MetricsUnavailable("no answer")

    fleet = Topology().node("a").vm("web", on="a").fleet
    assert with_loads(fleet, ["a"], Silent(), NOW) == fleet


@pytest.mark.parametrize("name", ['a"} or vector(1)', "db[1].*", "back\\slash"])
def test_what_owners_write_is_a_name_and_no_query(name: str) -> None:
    fleet = Topology().node("a").vm(name, on="a").fleet
    prometheus = Prometheus(lambda _name, _hour: 1.0)
    with_loads(fleet, ["a"], prometheus, NOW)
    inside = prometheus.asked.split('domain=~"', 1)[1]
    end = next(n for n, letter in enumerate(inside) if letter == '"' and (n == 0 or inside[n - 1] != "\\"))
    assert inside[end : end + 6] == '"}[1h]', prometheus.asked
