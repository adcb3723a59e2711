"""Whoever forges what one witness says empties a node, and is still one. All of it: `tests.injection.forged_metrics`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from injection.forged_metrics import T0, risk_of

from models.planning.corroboration import why_uncorroborated, witnesses_against
from models.policy.policy import Policy
from models.risk.risk_level import RiskLevel, node_risk
from models.risk.witness import Witness

NOW = datetime.fromtimestamp(T0 + 300.0, UTC)


@pytest.mark.parametrize("witness", Witness)
def test_the_loudest_lie_of_one_witness_stops_nobody_alone(witness: Witness) -> None:
    judged = node_risk("n", risk_of("n", [witness]), Policy(), NOW)
    assert judged.level is RiskLevel.TRIGGERED
    assert witnesses_against(judged, Policy()) == (witness,)
    assert why_uncorroborated(judged, Policy()) is not None


def test_two_of_them_do() -> None:
    judged = node_risk("n", risk_of("n", [Witness.BMC_METRICS, Witness.HOST_LOG]), Policy(), NOW)
    assert why_uncorroborated(judged, Policy()) is None
