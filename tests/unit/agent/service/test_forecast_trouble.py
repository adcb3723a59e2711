"""A model that can't be used is said once, and ends no look."""

from __future__ import annotations

from datetime import UTC, datetime

from structlog.testing import capture_logs

from agent.service.forecast_trouble import ForecastTrouble
from models.fleet import Fleet

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


def test_it_is_said_once_for_each_reason_and_again_when_it_is_over() -> None:
    why: dict[str, str] = {}
    trouble = ForecastTrouble(look_now=lambda: (Fleet(observed_at=NOW, nodes=(), vms=()), []), unusable=lambda: why)
    with capture_logs() as said:
        trouble.look()
        why["learned forecast"] = "m is not signed by the trusted key"
        for _ in range(3):
            trouble.look()
        assert trouble.told.keys() == {"learned forecast"}
        why["learned forecast"] = "m was written by another version"
        for _ in range(3):
            trouble.look()
        why.clear()
        trouble.look()
    told = [(each["event"], each["log_level"]) for each in said]
    assert told == [("forecast-not-used", "error"), ("forecast-not-used", "error"), ("forecast-used-again", "info")]
    assert trouble.told == {}
