"""Which risks are known well enough to act on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.policy.policy import Policy
from models.risk.risk import Risk
from models.risk.risk_level import RiskLevel, node_risk

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ahead", "level"),
    [
        (timedelta(seconds=30), RiskLevel.TRIGGERED),
        (timedelta(minutes=5), RiskLevel.UNKNOWN),
        (timedelta(days=365 * 973), RiskLevel.UNKNOWN),
    ],
)
def test_a_risk_from_the_future_is_unknown(ahead: timedelta, level: RiskLevel) -> None:
    risk = Risk(node="a", probability={"2h": 0.9}, data_age_seconds=1.0, assessed_at=NOW + ahead)
    judged = node_risk("a", risk, Policy(), NOW)
    assert judged.level is level
    assert (level is RiskLevel.UNKNOWN) == ("still to come" in judged.why)
