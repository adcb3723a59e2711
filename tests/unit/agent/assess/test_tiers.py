"""What a risk is worth doing, and that it does not flap: tables for the prices, properties for the hysteresis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.fleet import Priority, Vm, VmState
from models.policy.policy import Ceiling, DrainPolicy, ForecastPolicy, Policy, TierPolicy, TriggerPolicy
from models.risk.risk import Risk
from models.risk.risk_level import RiskLevel, node_risk
from models.risk.tier import NodeTier, Tier, TierAssessment, assess_tier, next_tier, worth_acting

NOW = datetime(2026, 11, 24, tzinfo=UTC)
POLICY = Policy()


def vm(priority: str = "high", *, migratable: bool = True, state: VmState = VmState.RUNNING) -> Vm:
    return Vm(uuid=f"{priority}-{migratable}-{state}", name="v", node="a", memory_bytes=1, priority=Priority(priority),
              migratable=migratable, state=state)  # fmt: skip


def said(
    soon: float, later: float | None = None, *, vms: list[Vm] | None = None, policy: Policy = POLICY
) -> TierAssessment:
    probability = {"2h": soon, "24h": max(soon, later if later is not None else soon)}
    risk = Risk(node="a", probability=probability, data_age_seconds=1.0)
    return assess_tier(node_risk("a", risk, policy, NOW), [vm()] if vms is None else vms, policy)


@pytest.mark.parametrize(
    ("soon", "later", "vms", "tier"),
    [
        (0.02, 0.05, [vm()], Tier.WATCH),
        (0.10, 0.20, [vm()], Tier.WATCH),  # as a target policy still takes it
        (0.15, 0.20, [vm()], Tier.CORDON),
        (0.02, 0.30, [vm()], Tier.DRAIN),
        (0.02, 0.30, [vm("low")], Tier.WATCH),  # one low vm is not worth the effort
        (0.02, 0.30, [vm(migratable=False)], Tier.WATCH),  # nobody is stopped for what a day may bring
        (0.02, 0.30, [vm(state=VmState.SHUTOFF)], Tier.WATCH),
        (0.50, 0.50, [vm()], Tier.EVACUATE),
        (0.50, 0.50, [vm("low")], Tier.EVACUATE),
        (0.50, 0.50, [vm(migratable=False)], Tier.EVACUATE),
        (0.49, 0.49, [vm(migratable=False)], Tier.CORDON),
        (0.95, 0.99, [], Tier.CORDON),  # nothing to lose but what would come
    ],
)
def test_each_tier_is_taken_where_it_saves_what_it_costs(soon: float, later: float, vms: list[Vm], tier: Tier) -> None:
    found = said(soon, later, vms=vms)
    assert found.tier is tier, found.why
    assert "\n" not in found.why


def test_prices_are_policy() -> None:
    cheap = Policy(drain=DrainPolicy(price=0.02, effort=0.0), trigger=TriggerPolicy(probability=0.9))
    assert said(0.03, policy=cheap).tier is Tier.DRAIN
    assert said(0.85, policy=cheap).tier is Tier.DRAIN
    assert said(0.90, policy=cheap).tier is Tier.EVACUATE


@pytest.mark.parametrize("age", [None, 10_000.0])
def test_an_unknown_risk_cordons_and_neither_enters_nor_leaves_more(age: float | None) -> None:
    risk = Risk(node="a", probability={"2h": 0.99}, data_age_seconds=age)
    blind = assess_tier(node_risk("a", risk, POLICY, NOW), [vm()], POLICY)
    assert (blind.tier, blind.known) == (Tier.CORDON, False)
    held = NodeTier(node="a", tier=Tier.EVACUATE, since=NOW, upheld_at=NOW, why="")
    assert next_tier(held, "a", blind, POLICY, NOW + timedelta(days=1)).tier is Tier.EVACUATE
    assert worth_acting(blind, None, POLICY, NOW) is None


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.lists(st.sampled_from(
    [vm(), vm("low"), vm("normal", migratable=False)]), max_size=3), st.floats(0.01, 1), st.floats(0, 50))  # fmt: skip
def test_a_higher_risk_is_never_worth_less(
    soon: float, later: float, more_soon: float, more_later: float, vms: list[Vm], price: float, effort: float
) -> None:
    policy = Policy(drain=DrainPolicy(price=price, effort=effort))
    low = said(min(soon, more_soon), min(later, more_later), vms=vms, policy=policy)
    high = said(max(soon, more_soon), max(later, more_later), vms=vms, policy=policy)
    assert low.tier.rank <= high.tier.rank
    assert low.upheld.rank <= high.upheld.rank
    assert low.tier.rank <= low.upheld.rank


STEPS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 1200), st.booleans()), min_size=1, max_size=40)


@given(STEPS, st.integers(0, 3600))
def test_it_is_raised_at_once_and_never_flaps_within_the_dwell(
    steps: list[tuple[float, int, bool]], dwell: int
) -> None:
    policy = Policy(tiers=TierPolicy(dwell=timedelta(seconds=dwell)))
    held: NodeTier | None = None
    now = NOW
    fell_at: datetime | None = None
    for soon, seconds, known in steps:
        now += timedelta(seconds=seconds)
        found = (
            said(soon, policy=policy)
            if known
            else TierAssessment(tier=Tier.CORDON, upheld=Tier.CORDON, known=False, why="")
        )
        before, held = held, next_tier(held, "a", found, policy, now)
        assert held.tier.rank >= found.tier.rank, "what is warranted is never withheld"
        if before is not None and held.tier.rank < before.tier.rank and not before.unknown_data:
            assert known, "silence lowers nothing"
            assert found.upheld.rank < before.tier.rank
            assert now - before.upheld_at >= policy.tiers.dwell
            assert fell_at is None or now - fell_at >= policy.tiers.dwell
            fell_at = now


def test_a_node_that_was_silent_for_a_moment_takes_vms_again_at_once() -> None:
    blind = TierAssessment(tier=Tier.CORDON, upheld=Tier.CORDON, known=False, why="no data")
    silent = next_tier(NodeTier(node="a", tier=Tier.WATCH, since=NOW, upheld_at=NOW, why=""), "a", blind, POLICY, NOW)
    assert silent.tier is Tier.CORDON
    assert next_tier(silent, "a", said(0.01), POLICY, NOW + timedelta(seconds=5)).tier is Tier.WATCH


def test_between_its_two_thresholds_a_tier_is_held() -> None:
    held = next_tier(None, "a", said(0.6), POLICY, NOW)
    for minute in range(1, 120):
        held = next_tier(held, "a", said(0.26), POLICY, NOW + timedelta(minutes=minute))
    assert held.tier is Tier.EVACUATE
    assert worth_acting(said(0.26), None, POLICY, NOW) is None, "held is not acted on: it is not worth it now"
    for minute in range(120, 131):
        held = next_tier(held, "a", said(0.01), POLICY, NOW + timedelta(minutes=minute))
    assert held.tier is Tier.WATCH


@given(st.floats(0, 1), st.integers(0, 7200))
def test_nothing_is_started_twice_within_the_cooldown(soon: float, since: int) -> None:
    act = worth_acting(said(soon), NOW - timedelta(seconds=since), POLICY, NOW)
    assert act is None or timedelta(seconds=since) >= POLICY.cooldown
    assert (act is Tier.EVACUATE) == (soon >= 0.5 and timedelta(seconds=since) >= POLICY.cooldown)


def test_a_drain_is_left_to_a_person_unless_policy_says_otherwise() -> None:
    assert worth_acting(said(0.02, 0.4), None, POLICY, NOW) is None
    policy = Policy(drain=DrainPolicy(act=True))
    assert worth_acting(said(0.02, 0.4, policy=policy), None, policy, NOW) is Tier.DRAIN


# A learned forecast that does not fit ------------------------------------------------------------------------------------

MOVED = "smart_187 is not 0 on 12 % of units, 1 % in training"


def doubted(soon: float, later: float, limits: tuple[float, float] | None, *, ceiling: str = "cordon",
            vms: list[Vm] | None = None, misfit: str = MOVED) -> tuple[TierAssessment, RiskLevel]:  # fmt: skip
    policy = Policy(forecast=ForecastPolicy(misfit_ceiling=Ceiling(ceiling)))
    grounded = None if limits is None else {"2h": limits[0], "24h": limits[1]}
    probability = {"2h": soon, "24h": later}
    risk = Risk(node="a", probability=probability, data_age_seconds=1.0, misfit=misfit, grounded=grounded)
    there = node_risk("a", risk, policy, NOW)
    return assess_tier(there, [vm()] if vms is None else vms, policy), there.level


@pytest.mark.parametrize(
    ("soon", "later", "limits", "ceiling", "tier", "standing"),
    [
        (0.7, 0.9, (0.01, 0.05), "cordon", Tier.CORDON, RiskLevel.ELEVATED),
        (0.7, 0.9, (0.01, 0.05), "drain", Tier.DRAIN, RiskLevel.ELEVATED),
        (0.7, 0.9, (0.01, 0.05), "evacuate", Tier.EVACUATE, RiskLevel.TRIGGERED),
        (
            0.7,
            0.9,
            (0.6, 0.8),
            "cordon",
            Tier.EVACUATE,
            RiskLevel.TRIGGERED,
        ),  # a fluttering PSU is evacuated all the same
        (0.7, 0.9, (0.2, 0.4), "cordon", Tier.DRAIN, RiskLevel.ELEVATED),  # what limits alone warrant
        (0.05, 0.5, (0.01, 0.02), "cordon", Tier.CORDON, RiskLevel.ACCEPTABLE),
        (0.05, 0.5, (0.01, 0.02), "drain", Tier.DRAIN, RiskLevel.ACCEPTABLE),
        (0.02, 0.05, (0.01, 0.02), "cordon", Tier.WATCH, RiskLevel.ACCEPTABLE),
        (0.7, 0.9, None, "cordon", Tier.CORDON, RiskLevel.ELEVATED),  # not told what limits give: nothing to stand on
    ],
)
def test_a_forecast_that_does_not_fit_goes_no_further_than_policy_lets_it(
    soon: float, later: float, limits: tuple[float, float] | None, ceiling: str, tier: Tier, standing: RiskLevel
) -> None:
    found, there = doubted(soon, later, limits, ceiling=ceiling)
    assert (found.tier, there) == (tier, standing), found.why
    assert found.known, "documented limits are known"


def test_why_less_is_done_is_said_with_the_figures() -> None:
    found, _ = doubted(0.7, 0.9, (0.01, 0.05))
    assert MOVED in found.why
    assert "70 %" in found.why
    assert "cordon at most" in found.why
    assert "1.0 %" in found.why.split("documented limits")[1]
    assert MOVED not in doubted(0.7, 0.9, (0.6, 0.8))[0].why, "it changes nothing there"


CHANCE = st.floats(0, 1)


@given(CHANCE, CHANCE, CHANCE, CHANCE, st.sampled_from(list(Ceiling)), st.sampled_from([[], [vm()], [vm("low")]]))
def test_doubt_takes_from_the_learned_part_alone(
    one: float, two: float, three: float, four: float, ceiling: Ceiling, vms: list[Vm]
) -> None:
    """Limits say no more than the whole does, a day no less than two hours."""
    low, mid, high = sorted((one, two, three))
    limits, whole = (low, min(mid, four)) if four >= low else (four, low), (mid, high)
    known, known_standing = doubted(*limits, None, misfit="", vms=vms)
    full, full_standing = doubted(*whole, None, misfit="", vms=vms)
    found, standing = doubted(*whole, limits, ceiling=ceiling, vms=vms)
    at_most = max(known.tier, min(full.tier, Tier(ceiling), key=lambda t: t.rank), key=lambda t: t.rank)
    assert known.tier.rank <= found.tier.rank <= at_most.rank
    assert (found.tier is Tier.WATCH) == (full.tier is Tier.WATCH), "doubt is no reason to send vms there"
    assert found.upheld.rank >= max(found.tier.rank, known.upheld.rank)
    assert (standing is RiskLevel.ACCEPTABLE) == (full_standing is RiskLevel.ACCEPTABLE)
    assert (standing is RiskLevel.TRIGGERED) == (
        known_standing is RiskLevel.TRIGGERED or (full_standing is RiskLevel.TRIGGERED and ceiling is Ceiling.EVACUATE)
    )
