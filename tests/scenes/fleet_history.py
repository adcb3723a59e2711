"""A small fleet with a past, made of nothing: some units' error counter climbs for a week and then they fail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from models.forecast.data.dataset import DAY
from models.forecast.learned.train import TrainingSettings

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 120
CUT = int(START.timestamp() * 1_000_000) + 80 * DAY
QUICK = TrainingSettings(trees=8, leaf=5, event_leaf=5, rounds=10, fewest_healthy=800)
"""Enough to learn this fleet in a second or two."""


def frames(units: int = 120, *, seed: int = 0, days: int = DAYS) -> dict[str, pl.DataFrame]:
    """units, telemetry, events and failures of a fleet watched daily. A quarter of the units are of the worse model."""

    random = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    events: list[dict[str, object]] = []
    listed: list[dict[str, object]] = []
    failures: list[dict[str, object]] = []
    for number in range(units):
        unit, worse = f"node-{number:03}", number % 4 == 0
        fails = random.random() < (0.5 if worse else 0.15)
        last = int(random.integers(20, days - 1)) if fails else days
        errors, hours = 0.0, float(random.integers(0, 20_000))
        for day in range(last):
            if fails and last - day <= 10:
                errors += float(random.integers(0, 6))
                if random.random() < 0.4:
                    events.append({"unit": unit, "time": START + timedelta(days=day, hours=3), "kind": "memory: ce"})
            elif random.random() < 0.002:
                errors += 1.0
            if random.random() < 0.01:
                events.append({"unit": unit, "time": START + timedelta(days=day, hours=5), "kind": "network: flap"})
            reported = None if random.random() < 0.02 else errors
            temperature = 30 + float(random.normal())
            rows.append(
                {
                    "unit": unit,
                    "time": START + timedelta(days=day),
                    "errors": reported,
                    "temperature": temperature,
                    "power_on_hours": hours + 24.0 * day,
                }
            )
        end = START + timedelta(days=last)
        if fails:
            failures.append({"unit": unit, "failed_at": end})
        model = "worse" if worse else "better"
        listed.append({"unit": unit, "observed_from": START, "observed_until": end, "model": model, "size": 4.0})
    return {
        "units": pl.DataFrame(listed),
        "telemetry": pl.DataFrame(rows),
        "events": pl.DataFrame(events),
        "failures": pl.DataFrame(failures),
    }
