"""`lifeboat backtest --report`: one trial as a page that needs nothing else, like the evacuation's report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.report import backtest_charts as charts
from agent.report.html import page_environment, page_style, write_page
from models.forecast.data.as_of import span_name
from models.forecast.trials import backtest, baselines, compare, worth
from models.forecast.trials.backtest import Trial

BESIDE = ("random", "vendor's rule", baselines.FOREST, baselines.BOOSTING)
"""methods drawn beside ours, as far as a trial has them"""


@dataclass(frozen=True, slots=True)
class BacktestPage:
    """What the page is told. horizon: microseconds; price: of a needless evacuation, as a share of a failure's."""

    dataset: str
    trial: Trial
    horizon: int
    price: float
    trained_until: int
    methods: Mapping[str, Mapping[str, object]]
    """`backtest.summarise` of the trial"""
    takes: int = 0
    """how long an evacuation takes, microseconds"""


def write_backtest(page: BacktestPage, path: Path) -> None:
    """Write the page; the file appears whole or not at all. Raises BadInput when the place can't be written."""
    write_page(path, render_backtest(page))


def render_backtest(page: BacktestPage) -> str:
    """The whole page as text."""
    from markupsafe import Markup

    trial = page.trial
    drawn = [backtest.MODEL, *(name for name in BESIDE if name in trial.scores)]
    spent = {
        name: [worth.spend(trial, name, b, page.horizon, page.price, takes=page.takes) for b in worth.budgets(trial)]
        for name in drawn
    }
    calibrated = [name for name in drawn if name in trial.calibrated]
    figures = {
        "reliability": charts.reliability_chart({name: worth.reliability(trial, name) for name in calibrated}),
        "budget": charts.budget_chart(spent),
        "cost": charts.cost_chart({name: worth.cost_curve(trial, name).tolist() for name in calibrated}),
        "drift": charts.drift_chart(worth.months(trial, backtest.MODEL)),
    }
    return (
        page_environment()
        .get_template("backtest.html.j2")
        .render(
            p=page,
            t=trial,
            css=Markup(page_style()),  # noqa: S704 -- our own file
            # The charts escape what they were given themselves.
            charts={name: Markup(svg) for name, svg in figures.items()},  # noqa: S704
            spent=spent,
            ours=backtest.MODEL,
            methods=page.methods,
            without=compare.without_largest(trial),
            kinds=compare.by_kind(trial, backtest.MODEL) if trial.category else [],
            horizon=span_name(page.horizon),
            takes=span_name(page.takes),
            failures=int(trial.failed.sum()),
            units=len(set(trial.unit.tolist())),
            first=_day(int(trial.time.min())),
            last=_day(int(trial.time.max())),
            trained=_day(page.trained_until),
            few=_few,
        )
    )


def _day(time: int) -> str:
    return f"{datetime.fromtimestamp(time / 1e6, UTC):%Y-%m-%d}"


def _few(value: Any, digits: int = 3) -> str:
    number = float(value)
    return "–" if math.isnan(number) else f"{number:.{digits}f}"
