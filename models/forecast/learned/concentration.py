"""Whether one kind of unit (a drive model, a system) makes up most failures of a dataset.

Then what is measured on the dataset mostly says how well that kind is forecast, and a fleet without it should expect less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.forecast.data.dataset import FOREVER, Dataset

MOST = 0.5
"""More than this share of the failures is most of them."""
BESIDE = 2.0
"""… and this many times the kind's share of the units: a kind that is half of the fleet fails half of the time."""
FEWEST = 20
"""Fewer failures than this say nothing about shares."""


@dataclass(frozen=True, slots=True)
class Concentration:
    """The value of a static category with the most failures."""

    category: str
    value: str
    failures: int
    all_failures: int
    unit_share: float

    @property
    def is_most(self) -> bool:
        share = self.failures / max(self.all_failures, 1)
        return self.failures >= FEWEST and share > MOST and share >= BESIDE * self.unit_share

    @property
    def sentence(self) -> str:
        """One line for people; empty where no kind makes up most failures."""
        if not self.is_most:
            return ""
        return (
            f"{self.failures} of {self.all_failures} failures are of {self.category} {self.value}, "
            f"{self.unit_share:.0%} of the units: figures measured on this dataset mostly say how well that "
            f"{self.category} is forecast; expect less of a fleet without it (backtest reports both)"
        )


def finest_category(dataset: Dataset) -> str | None:
    """The static category that tells the most kinds of unit apart, without naming single units; None: there is none."""
    counts = {name: len(np.unique(column.astype(str))) for name, column in dataset.categories.items()}
    told = {name: count for name, count in counts.items() if 1 < count <= len(dataset.units) // 2}
    return max(sorted(told), key=lambda name: told[name]) if told else None


def concentration(dataset: Dataset) -> Concentration | None:
    """Which kind of unit has the most failures in `dataset` (cut it with `known_at` first). None: no kinds, or no failures."""
    name, failures = finest_category(dataset), dataset.failures
    if name is None or failures is None or not failures.start.size:
        return None
    values, code = np.unique(dataset.categories[name].astype(str), return_inverse=True)
    counts = np.bincount(code[failures.unit], minlength=len(values))
    there = dataset.observed_from > -FOREVER
    top = int(counts.argmax())
    share = float((code[there] == top).mean()) if there.any() else 0.0
    return Concentration(name, str(values[top]), int(counts[top]), int(counts.sum()), share)
