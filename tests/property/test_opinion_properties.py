"""A learned opinion never makes a curve fall, never dilutes what limits say, and counts by the failures it stands on."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.forecast.limits.combine import ModelForecast, at_horizons, base_rate, pulled, weight
from models.forecast.limits.node import CAP, combine
from models.forecast.limits.part import HORIZON_SECONDS

DAY = 86_400.0
CURVES = st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4).map(lambda values: tuple(sorted(values)))


@st.composite
def known(draw: st.DrawFn) -> list[tuple[float, float]]:
    spans = draw(st.lists(st.floats(600.0, 90 * DAY), min_size=1, max_size=5, unique=True))
    chances = draw(st.lists(st.floats(0.0, 1.0), min_size=len(spans), max_size=len(spans)))
    return list(zip(sorted(spans), sorted(chances), strict=True))


@given(known())
def test_a_curve_read_off_at_other_horizons_never_falls(given_curve: list[tuple[float, float]]) -> None:
    curve = at_horizons(given_curve)
    assert all(0.0 <= p <= 1.0 for p in curve)
    assert all(low <= high + 1e-12 for low, high in pairwise(curve))


@given(known())
def test_where_it_is_known_it_says_what_is_known(given_curve: list[tuple[float, float]]) -> None:
    at, wanted = given_curve[0]
    assert at_horizons(given_curve, [at])[0] == pytest.approx(wanted, abs=1e-6)


def test_constant_hazard_before_the_first_horizon_and_the_base_rate_after_the_last() -> None:
    (day,) = at_horizons([(30 * DAY, 0.3)], [DAY])
    assert day == pytest.approx(1 - 0.7 ** (1 / 30))
    (week,) = at_horizons([(DAY, 0.3)], [7 * DAY])
    assert week == pytest.approx(1 - 0.7 * (1 - base_rate(6 * DAY)))


@given(CURVES, CURVES, st.lists(CURVES, max_size=4))
def test_what_limits_say_is_not_diluted(
    own: tuple[float, ...], part: tuple[float, ...], limits: list[tuple[float, ...]]
) -> None:
    opinions = [ModelForecast(own, "a", "b", is_base=True), ModelForecast(part, "c", "d")]
    risk = combine(limits, opinions)
    assert all(low <= high for low, high in pairwise(risk))
    for said in (*limits, own, part):
        assert all(p >= min(CAP, q) - 1e-12 for p, q in zip(risk, said, strict=True))


@given(st.floats(0.0, 1.0), st.sampled_from(HORIZON_SECONDS), st.integers(0, 10_000))
def test_few_failures_pull_towards_the_base_rate(p: float, seconds: float, failures: int) -> None:
    said, base = pulled(p, seconds, failures), base_rate(seconds)
    assert min(p, base) - 1e-9 <= said <= max(p, base) + 1e-9
    more = pulled(p, seconds, failures + 100)
    assert abs(more - p) <= abs(said - p) + 1e-9


@pytest.mark.parametrize(("failures", "share"), [(0, 0.0), (20, 0.5), (180, 0.9)])
def test_a_model_counts_by_its_failures(failures: int, share: float) -> None:
    assert weight(failures) == pytest.approx(share)
    assert pulled(0.5, 7 * DAY, 0) == pytest.approx(base_rate(7 * DAY))
