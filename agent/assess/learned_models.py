"""The learned models that the settings name: loaded, kept up with their files, and asked again when the history has grown.

None of it can stop a look. What can't be used is said in every risk, and the documented limits carry on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agent.assess.assess import ModelForecasts
from models.errors import LifeboatError, ModelInvalid
from models.extras import extra_missing
from models.risk.signal import Component

if TYPE_CHECKING:
    from agent.observe.observation import Observation
    from agent.settings import Settings
    from models.forecast.history.lives import History, Life
    from models.forecast.learned.node_forecasts import NodeForecasts
    from models.forecast.learned.predict import Forecast
    from models.forecast.limits.combine import ModelForecast
    from models.risk.incidents import Incident
    from models.risk.signal import Signal
    from models.storage_layout import StoragePolicy

OWN = "learned forecast"


class LearnedModels:
    """What the models say of each node, as of the newest complete hour of the history."""

    def __init__(self, settings: Settings, signals: Sequence[Signal], storage: StoragePolicy | None = None) -> None:
        """Loads nothing yet. storage: what a drive's failure means for its node; None: what the settings' policy says."""
        self._storage = storage
        self._settings = settings
        self._signals = signals
        forecast = settings.forecast
        self._files: dict[str, Path] = {} if forecast.model is None else {OWN: forecast.model}
        self._files |= {f"{name} forecast": path for name, path in forecast.components.items()}
        self._loaded: dict[str, tuple[object, Forecast | LifeboatError, str]] = {}
        self._newest: tuple[object, ModelForecasts] | None = None

    def check(self) -> None:
        """Raises ModelInvalid or BadInput for the first model file that can't be used."""
        for model, _ in self.models().values():
            if isinstance(model, LifeboatError):
                raise model

    def models(self) -> dict[str, tuple[Forecast | LifeboatError, str]]:
        """Each configured forecast with its model and the name of its file, or why it can't be used."""
        return {label: self._model(label) for label in self._files if self._is_expected(label)}

    def _is_expected(self, label: str) -> bool:
        """False: `lifeboat run` has not trained the fleet's first model yet."""
        return label != OWN or self._settings.forecast.retrain is None or self._files[label].exists()

    def of(self, observation: Observation) -> ModelForecasts:
        """What they say of the nodes of this look. Raises nothing."""
        if not self._files:
            return ModelForecasts()
        models = self.models()
        if not models:
            return ModelForecasts()
        state = self._settings.state_dir / "history" / "state.npz"
        hour = observation.at.replace(minute=0, second=0, microsecond=0)
        nodes = [node.name for node in observation.fleet.nodes]
        used = [(name, str(model) if isinstance(model, LifeboatError) else "") for model, name in models.values()]
        key = (_stamp(state), hour, nodes, used)
        if self._newest is None or self._newest[0] != key:
            self._newest = key, self._apply(models, nodes, observation)
        return self._newest[1]

    def _apply(
        self,
        models: dict[str, tuple[Forecast | LifeboatError, str]],
        nodes: list[str],
        observation: Observation,
    ) -> ModelForecasts:
        opinions: dict[str, list[ModelForecast]] = defaultdict(list)
        unknown: dict[str, dict[str, str]] = defaultdict(dict)
        broken: dict[str, str] = {}
        try:
            history, known, failures = self._past()
        except LifeboatError as error:
            return ModelForecasts(broken=dict.fromkeys(models, error.message))
        for label, (model, name) in models.items():
            if isinstance(model, LifeboatError):
                broken[label] = model.message
                continue
            try:
                forecasts = self._one(label, model, name, history, known, failures, nodes, observation)
            except LifeboatError as error:
                broken[label] = error.message
                continue
            except Exception as error:  # a model that can't be applied must not take the limits with it
                broken[label] = f"the model could not be applied ({type(error).__name__}: {error})"
                continue
            for node, opinion in forecasts.opinions.items():
                opinions[node].append(opinion)
            for node, why in forecasts.unknown.items():
                unknown[node][label] = why
        return ModelForecasts(opinions, unknown, broken)

    def _one(
        self,
        label: str,
        model: Forecast,
        name: str,
        history: History,
        known: list[Life],
        failures: list[Incident],
        nodes: list[str],
        observation: Observation,
    ) -> NodeForecasts:
        from models.forecast.learned.node_forecasts import of_drives, of_nodes

        now = observation.at.timestamp()
        if label == OWN:
            return of_nodes(model, name, history, known, failures, nodes, now)
        drives, lacking = _drives(observation), _lacking(observation)
        return of_drives(model, name, history, drives, now, self._storage_policy(), lacking)

    def _storage_policy(self) -> StoragePolicy:
        from agent.documents import read_policy
        from models.storage_layout import StoragePolicy

        if self._storage is None:
            file = self._settings.policy_file
            self._storage = read_policy(file).storage if file is not None else StoragePolicy()
        return self._storage

    def _past(self) -> tuple[History, list[Life], list[Incident]]:
        from agent.observe.incidents import known_incidents
        from models.forecast.history.lives import failures, lives
        from tools.history.store import HistoryStore

        settings = self._settings
        history = HistoryStore(settings.state_dir / "history", self._signals).read()
        incidents = known_incidents(settings, settings.forecast.incidents)
        known = lives(history, incidents.evacuated, incidents.maintenance)
        return history, known, failures(history, reported=incidents.reported, maintenance=incidents.maintenance)

    def _model(self, label: str) -> tuple[Forecast | LifeboatError, str]:
        """The model and its name, read again when its file is another."""
        path = self._files[label]
        stamp = _stamp(path)
        if label not in self._loaded or self._loaded[label][0] != stamp:
            self._loaded[label] = stamp, *self._load(path)
        return self._loaded[label][1:]

    def _load(self, path: Path) -> tuple[Forecast | LifeboatError, str]:
        try:
            from models.forecast.learned.predict import Forecast
            from tools.forecast.model_files import load_model, model_name

            model = load_model(path, trusted_key=self._settings.forecast.trusted_key)
            if not isinstance(model, Forecast):
                raise ModelInvalid(f"{path} is an anomaly score, which is no probability", hint="train on failures")
            return model, model_name(path)
        except LifeboatError as error:
            return error, ""
        except ModuleNotFoundError as error:
            lacking = extra_missing(error)
            if lacking is None:
                raise
            return lacking, ""


def _stamp(path: Path) -> object:
    """Changes when the file does."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _drives(observation: Observation) -> dict[str, list[str]]:
    """node → its drives that report something a model of drives may know, sorted."""
    found: dict[str, set[str]] = defaultdict(set)
    for history in observation.histories:
        if history.signal.column and history.signal.component is Component.STORAGE and history.newest is not None:
            found[history.node].add(history.part)
    return {node: sorted(drives) for node, drives in found.items()}


def _lacking(observation: Observation) -> dict[str, dict[str, int]]:
    """node → array, as the kernel calls it → how many drives it is short of."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for history in observation.histories:
        if history.signal.domain != "array" or history.signal.unit != "disks" or history.newest is None:
            continue
        values = history.values[np.isfinite(history.values)]
        array = history.part.removeprefix("/dev/")
        if values.size:
            found[history.node][array] = max(round(float(values[-1])), found[history.node].get(array, 0))
    return found
