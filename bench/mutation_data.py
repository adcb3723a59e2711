"""Sound data files, small, and ways to break them from the inside: datasets, models, a history and what people know of it."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

Mutated = Callable[[bytes, random.Random], bytes]
"""breaks a file's bytes"""
STATE = "state_dir: state\n"


def model_file(world: Path) -> None:
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    from models.forecast.learned import serialise
    from models.forecast.learned.calibrate import Calibration
    from models.forecast.learned.features.table import FeatureSpec
    from models.forecast.learned.predict import Forecast, HorizonStep, Member

    rows = np.random.default_rng(0).random((200, 3)).astype(np.float32)
    forest = RandomForestClassifier(2, random_state=0, max_depth=3).fit(rows, rows[:, 0] > 0.5)
    step = HorizonStep(1_000_000, (Member(forest, np.arange(3)),), Calibration(1.0, 0.0, 0, 0))
    model = Forecast(FeatureSpec(windows=(1,)), ("n_0", "n_1", "n_2"), (step,), np.zeros(3))
    (world / "own.lifeboat").write_bytes(serialise.dumps(model))
    (world / "lifeboat.yaml").write_text(
        STATE + 'prometheus: {url: "http://127.0.0.1:1"}\nforecast: {model: own.lifeboat}\n'
    )


def mutate_model(content: bytes, chance: random.Random, mutated: Mutated) -> bytes:
    """Mostly a part inside the file, under a right hash; else the file's bytes."""
    if chance.random() < 0.2:
        return mutated(content, chance)
    magic, _, signature, body = content.split(b"\n", 3)
    inner = _mutate_zip(body, chance, lambda part, name: _part(part, name, chance, mutated))
    rest = signature + b"\n" + inner
    return b"\n".join((magic, hashlib.sha256(rest).hexdigest().encode(), rest))


def _part(part: bytes, name: str, chance: random.Random, mutated: Mutated) -> bytes:
    if name.endswith(".skops") and chance.random() < 0.7:
        return _mutate_zip(part, chance, lambda inner, _name: mutated(inner, chance))
    return mutated(part, chance)


def _mutate_zip(content: bytes, chance: random.Random, change: Callable[[bytes, str], bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(out, "w") as broken:
        chosen = chance.choice(whole.namelist())
        for name in whole.namelist():
            part = whole.read(name)
            broken.writestr(name, change(part, name) if name == chosen else part)
    return out.getvalue()


def dataset(world: Path) -> None:
    """Sixty units for seventy days, of which a quarter go bad and fail, and a model trained on them."""
    import polars as pl

    from models.forecast.data.dataset import DAY
    from models.forecast.learned.train import TrainingSettings, train
    from tools.forecast.datasets import read_dataset, write_dataset
    from tools.forecast.model_files import save_model

    begin, units = datetime(2026, 8, 1, tzinfo=UTC), [f"node-{number:02}" for number in range(60)]
    lasts = {unit: 70 if number % 4 else 25 + number % 40 for number, unit in enumerate(units)}
    days = [(unit, day) for unit in units for day in range(lasts[unit])]
    failed = [unit for unit in units if lasts[unit] < 70]
    errors = [float(max(0, day - lasts[unit] + 10) if unit in failed else 0) for unit, day in days]
    tables = {
        "units": pl.DataFrame({"unit": units, "observed_from": [begin] * 60,
                               "observed_until": [begin + timedelta(days=lasts[unit]) for unit in units]}),
        "telemetry": pl.DataFrame({"unit": [unit for unit, _ in days], "time": [begin + timedelta(days=day) for _, day in days],
                                   "errors": errors}),
        "events": pl.DataFrame({"unit": units[:2], "time": [begin] * 2, "kind": ["memory: ce", "network: flap"]}),
        "failures": pl.DataFrame({"unit": failed, "failed_at": [begin + timedelta(days=lasts[unit]) for unit in failed]}),
    }  # fmt: skip
    write_dataset(world / "dataset", tables)
    quick = TrainingSettings(trees=4, leaf=5, event_leaf=5, rounds=10, fewest_healthy=300, jobs=1)
    save_model(world / "own.lifeboat", train(read_dataset(world / "dataset"), [7 * DAY], settings=quick))


def mutate_parquet(content: bytes, chance: random.Random, mutated: Mutated) -> bytes:
    """Half of the time a sound file with other values, types or columns; else the file's bytes."""
    import polars as pl

    if chance.random() < 0.5:
        return mutated(content, chance)
    frame = pl.read_parquet(io.BytesIO(content))
    name = chance.choice(frame.columns)
    column = frame[name]
    far = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
    changes: tuple[Callable[[], pl.DataFrame], ...] = (
        lambda: frame.drop(name),
        lambda: frame.rename({name: chance.choice(["", "x" * 3000, "\x1b[2J", "unit ", "time\u0000"])}),
        lambda: frame.with_columns(column.cast(pl.String).alias(name)),
        lambda: frame.with_columns(pl.lit(None).alias(name)),
        lambda: frame.with_columns(pl.lit(chance.choice([float("nan"), float("inf"), -1e308])).alias(name)),
        lambda: frame.with_columns(pl.lit([1, 2]).alias(name)),
        lambda: frame.with_columns(pl.lit(chance.choice(far)).alias(name)),
        lambda: frame.with_columns(pl.lit(chance.choice(["", "\x1b[2J", "\u202e", "a" * 70_000])).alias(name)),
        lambda: frame.head(0),
        lambda: pl.concat([frame] * chance.choice((2, 50))),
        frame.reverse,
        lambda: frame.sample(fraction=1.0, shuffle=True, seed=chance.randrange(99)),
    )
    out = io.BytesIO()
    chance.choice(changes)().write_parquet(out)
    return out.getvalue()


def incidents_file(world: Path) -> None:
    """A history of a day, and what people know besides."""
    import numpy as np

    from models.risk.signal import STATISTICS, Summaries
    from tools.history.store import HistoryStore
    from tools.signals import load_catalogue

    (world / "lifeboat.yaml").write_text(STATE)
    catalogue = load_catalogue(None)
    up = next(signal for signal in catalogue if signal.name == "target_up")
    begin = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp())
    times = [begin + 3600 * hour for hour in range(1, 25)]
    values = np.ones((len(STATISTICS), 2, len(times)))
    store = HistoryStore(world / "state/history", catalogue)
    if store.until < times[-1]:
        nodes = [("node-a", ""), ("node-b", "")]
        told = {up.name: Summaries(up, np.array(times, np.float64), nodes, values)}
        store.append(told, times, ["node-a", "node-b"], [])
    (world / "incidents.csv").write_text(
        "node,start,end,kind\n"
        "node-a,2026-11-20T05:00:00Z,2026-11-20T06:00:00Z,failure\n"
        "node-b,2026-11-20T07:00:00+01:00,2026-11-20T09:30:00+01:00,maintenance\n"
        "*,2026-11-20T12:00:00Z,2026-11-20T12:30:00Z,maintenance\n"
    )
