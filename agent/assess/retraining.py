"""Train a challenger on this fleet's own history, and put it in the place of the model in use where it wins.

One retraining reads the history, compares (`models.forecast.trials.champion`), writes the model file if it was won, and a
record of it either way. It takes minutes and gigabytes on a large fleet: the background agent has a process of its own do it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from models.errors import BadInput, LifeboatError, ModelInvalid
from tools.ports.records.forecasts import ModelChallenged

if TYPE_CHECKING:
    from pathlib import Path

    from agent.settings import Settings
    from models.forecast.data.dataset import Dataset
    from models.forecast.learned.predict import Forecast
    from models.forecast.learned.train import TrainingSettings
    from models.forecast.trials.champion import Decision
    from tools.ports.journal import Journal

FIRST_HORIZONS = ("24h", "7d")
"""What a fleet's first model forecasts; later ones keep the horizons of the one before."""


def last_retraining(journal: Journal) -> datetime | None:
    """When a challenger was last compared; None: never."""
    return max((entry.at for entry in journal.of(ModelChallenged)), default=None)


def retrain(
    settings: Settings,
    journal: Journal,
    *,
    now: datetime,
    training: TrainingSettings | None = None,
    keep: bool = True,
) -> ModelChallenged:
    """Challenge the fleet's own model once. `keep`: write model and record; otherwise only say what would be done.

    Raises BadInput when the settings name no model, a key is missing, or the history can't be read.
    """
    from tools.forecast.model_files import model_name, save_model

    path, key = settings.forecast.model, settings.forecast.sign_key
    if path is None:
        raise BadInput(
            "no model of the fleet's own is configured", hint="name its file as `forecast.model` in the settings"
        )
    if settings.forecast.trusted_key is not None and key is None:
        raise BadInput(
            "forecast.trusted_key is set, and a model nobody signed would not be used",
            hint="name the private key as `forecast.sign_key`, or train and sign by hand",
        )
    champion = _champion(path, settings)
    data = _dataset(settings)
    decision, model = _decide(champion, data, training)
    before, after = model_name(path) if champion is not None else "", None
    if model is not None and keep:
        save_model(path, model, key=key)
        after = model_name(path)
    compared = decision.comparison
    record = ModelChallenged(
        file=str(path),
        before=before,
        after=after,
        why=decision.why,
        failures=0 if compared is None else compared.failures,
        since=None if compared is None else _moment(compared.since),
        bits=None if compared is None else compared.bits,
        bits_low=None if compared is None else compared.low,
        bits_high=None if compared is None else compared.high,
    )
    if keep:
        journal.append(record, now=now)
    return record


def _decide(
    champion: Forecast | None, data: Dataset, training: TrainingSettings | None
) -> tuple[Decision, Forecast | None]:
    """What comes of the comparison, and the model fitted on everything where it was won."""
    from models.base import parse_duration
    from models.forecast.data.dataset import MICROSECONDS
    from models.forecast.learned.drift import fit_at
    from models.forecast.learned.train import train
    from models.forecast.trials.champion import challenge

    now = data.last_time
    horizons = tuple(round(parse_duration(text).total_seconds() * MICROSECONDS) for text in FIRST_HORIZONS)
    misfit, until = "", 0
    if champion is not None:
        horizons, until = champion.horizons, _data_until(champion)
        try:
            misfit = fit_at(champion, champion.builder(data), now).misfit
        except ModelInvalid as error:  # of an older lifeboat, which computed other features: it can't be used at all
            champion, misfit = None, error.message

    def fit(known: Dataset, spans: tuple[int, ...], at: int) -> Forecast:
        return train(known, spans, until=at, settings=training)

    decision = challenge(champion, until, data, horizons, now, fit, misfit)
    return decision, fit(data, horizons, now) if decision.replace else None


def _champion(path: Path, settings: Settings) -> Forecast | None:
    """The model in use; None where there is none, or none that can be used."""
    from models.forecast.learned.predict import Forecast
    from tools.forecast.model_files import load_model

    if not path.exists():
        return None
    try:
        model = load_model(path, trusted_key=settings.forecast.trusted_key)
    except LifeboatError:
        return None  # every risk says so already; the base rate stands in
    return model if isinstance(model, Forecast) else None


def _dataset(settings: Settings) -> Dataset:
    from agent.observe.incidents import known_incidents
    from models.forecast.data.dataset import build
    from models.forecast.history.lives import failures, lives, tables
    from tools.history.store import HistoryStore
    from tools.signals import load_catalogue

    store = HistoryStore(settings.state_dir / "history", load_catalogue(settings.signals_file))
    known = store.read()
    if known.rows.is_empty():
        raise BadInput(f"{store.directory} holds nothing yet", hint="`lifeboat run` fills it, an hour at a time")
    past = known_incidents(settings, settings.forecast.incidents)
    units = lives(known, past.evacuated, past.maintenance)
    return build(tables(known, units, failures(known, reported=past.reported, maintenance=past.maintenance)))


def _data_until(model: Forecast) -> int:
    """Microseconds up to which a model was trained; the far future where it does not say: then nothing is newer."""
    import numpy as np

    from models.forecast.data.dataset import FOREVER

    at = np.datetime64(str(model.about.get("data_until", "")).removesuffix("Z") or "NaT", "us")
    return FOREVER if np.isnat(at) else int(at.astype(np.int64))


def _moment(microseconds: int) -> datetime:
    from datetime import UTC

    return datetime.fromtimestamp(microseconds / 1e6, UTC)
