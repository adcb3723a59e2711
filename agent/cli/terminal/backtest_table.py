"""The backtest's table for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from rich.table import Table

WIDTH = 130
"""Columns of the terminal that seven methods take; also in a pipe."""
_TITLE = ("seed", "unit", "pairs", "failures")
MEASURES = (
    ("AP", "average_precision"),
    ("AP, 90 % by unit", "average_precision_90%"),
    ("AP without the largest", "average_precision_without_largest"),
    ("recall@FPR 0.1 %", "recall_at_fpr_0.1%"),
    ("recall@FPR 1 %", "recall_at_fpr_1%"),
    ("top 0.1 %: precision", "precision_top_0.1%"),
    ("top 0.1 %: unit recall", "unit_recall_top_0.1%"),
    ("top 1 %: precision", "precision_top_1%"),
    ("top 1 %: unit recall", "unit_recall_top_1%"),
    ("ECE, equal widths", "ece"),
    ("ECE, equal counts", "ece_by_rank"),
    ("forecast", "expected"),
    ("lead days 10/50/90 %", "lead_days_top_1%"),
    ("cost at 10/30/100/300", "cost_by_price_ratio"),
)


def backtest_table(report: Mapping[str, object]) -> Table:
    """One trial, a column a method. Costs are shares of the better of never and always acting: below 1 pays."""

    methods = cast("Mapping[str, Mapping[str, Any]]", report["methods"])
    base = next(iter(methods.values()))["base_rate"]
    facts = ", ".join(f"{name} {value}" for name, value in report.items() if name in _TITLE)
    kinds = cast("Mapping[str, str]", report.get("largest", {}))
    largest = "".join(f"; the largest {name} is {value}" for name, value in kinds.items())
    warning = f"\nthe model does not fit the test units at the end: {report['misfit']}" if report.get("misfit") else ""
    table = Table(title=f"{facts}, base rate {base:.4f}{largest}{warning}", title_justify="left", width=WIDTH)
    table.add_column("", no_wrap=True)
    for name in methods:
        table.add_column(name, justify="right", overflow="fold")
    for title, key in MEASURES:
        table.add_row(title, *(_cell(row.get(key), key) for row in methods.values()))
    return table


def _cell(value: Any, key: str) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return "/".join(f"{v:.2f}" for v in cast("Mapping[str, float]", value).values())
    if isinstance(value, list | tuple):
        numbers = cast("list[float]", value)
        return "–".join(f"{v:.3f}" for v in numbers) if "90%" in key else "/".join(f"{v:.1f}" for v in numbers)
    return (
        "–"
        if math.isnan(value)
        else f"{value:.5f}"
        if key in ("ece", "ece_by_rank")
        else f"{value:.1f}"
        if key == "expected"
        else f"{value:.3f}"
    )
