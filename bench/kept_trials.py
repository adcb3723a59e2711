"""Trials kept on disk, a file each, so that a run of hours may be broken off and goes on where it was.

A file says nothing of the recipe that made it: a folder is for one recipe, and a new recipe takes a new folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from models.forecast.trials.backtest import Trial

_TOLD = ("category", "largest", "concentrated", "misfit")


def keep(trial: Trial, path: Path) -> None:
    """Write a trial whole, or not at all."""
    about = {name: getattr(trial, name) for name in _TOLD} | {
        "units": trial.units,
        "methods": list(trial.scores),
        "calibrated": sorted(trial.calibrated),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    with beside.open("wb") as file:
        np.savez_compressed(
            file,
            about=np.array(json.dumps(about)),
            unit=trial.unit,
            time=trial.time,
            failed=trial.failed,
            failed_at=trial.failed_at,
            kind=trial.kind.astype(str),
            scores=np.stack(list(trial.scores.values())),
        )
    beside.replace(path)


def kept(path: Path) -> Trial | None:
    """The trial that `keep` wrote there; None where there is none."""
    if not path.exists():
        return None
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
        return Trial(
            tuple(about["units"]),
            file["unit"],
            file["time"],
            file["failed"],
            file["failed_at"],
            dict(zip(about["methods"], file["scores"], strict=True)),
            frozenset(about["calibrated"]),
            kind=file["kind"].astype(object),
            **{name: about[name] for name in _TOLD},
        )
