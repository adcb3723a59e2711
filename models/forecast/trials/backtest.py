"""One honest trial: train on some units up to a moment, score the other units after it, beside the baselines.

Units and time are both unseen; pairs whose outcome nobody can know are left out; intervals resample units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput
from models.forecast.data import labels
from models.forecast.data.dataset import DAY, FOREVER, Dataset, Floats, Ints, Spans, known_at, take_units
from models.forecast.learned import evaluate
from models.forecast.learned.anomaly import score_anomaly, train_anomaly
from models.forecast.learned.concentration import concentration
from models.forecast.learned.drift import fit_at
from models.forecast.learned.evaluate import Bools
from models.forecast.learned.train import Say, TrainingSettings, sample, silent, train
from models.forecast.trials import baselines

MODEL = "lifeboat"
RATIOS = (10.0, 30.0, 100.0, 300.0)
"""Price of a missed failure in false alarms, for the cost curve."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Test pairs with outcomes and every method's scores for them."""

    units: tuple[str, ...]
    unit: Ints
    time: Ints
    failed: Bools
    failed_at: Ints
    scores: Mapping[str, Floats]
    calibrated: frozenset[str]
    """Methods whose scores claim to be probabilities: only these get a calibration error and a cost."""
    category: str = ""
    """The static category that tells the most kinds of unit apart; empty: there is none."""
    kind: NDArray[np.object_] = field(default_factory=lambda: np.zeros(0, object))
    """Each pair's value of it; no rows where there is no category."""
    largest: str = ""
    """The kind with the most failures in training; what is measured is also reported without it."""
    concentrated: str = ""
    """One line where that kind makes up most failures of training; else empty."""
    misfit: str = ""
    """Why the model did not fit the test units at the end of the test; empty: nothing speaks against it."""


def run(
    dataset: Dataset,
    horizon: int,
    train_until: int,
    every: int,
    *,
    until: int | None = None,
    unseen: float = 0.3,
    seed: int = 0,
    settings: TrainingSettings | None = None,
    forest: bool = True,
    own: bool = False,
    shuffle: bool = False,
    say: Say = silent,
) -> Trial:
    """Train on 1 − `unseen` of the units up to `train_until`, score the rest from then on every `every` (microseconds).

    unseen 0 scores the units it trained on (time alone unseen). own: learners on the features that the model looks at, too.
    shuffle: the canary — failures are dealt out to other units at random before anything else, and every method must fall to
    the base rate. Raises BadInput.
    """

    settings = settings or TrainingSettings()
    end = dataset.last_time if until is None else until
    random = np.random.default_rng(seed)
    held_out = random.random(len(dataset.units)) < unseen if unseen else np.ones(len(dataset.units), bool)
    kept = ~held_out if unseen else held_out
    if train_until + every > end:
        raise BadInput("--train-until leaves no time to test on")
    if shuffle and dataset.failures is not None:
        dealt = random.permutation(len(dataset.units))[dataset.failures.unit]
        order = np.lexsort((dataset.failures.start, dealt))
        spans = Spans(dealt[order], dataset.failures.start[order], dataset.failures.end[order])
        dataset = replace(dataset, failures=spans)
    learn = known_at(take_units(dataset, kept), train_until)
    test = take_units(dataset, held_out)
    pairs = labels.at_risk(test, labels.grid(train_until, end - horizon, every))
    outcome = labels.outcomes(test, pairs, horizon, known_until=end)
    known = outcome != labels.UNKNOWN
    pairs, failed = pairs.where(known), outcome[known] == 1
    if not failed.any():
        raise BadInput("no unit held out for the test failed in the test time: nothing can be measured")
    model = train(learn, [horizon], until=train_until, settings=settings, say=say)
    say(f"scoring {len(pairs)} pairs of {int(held_out.sum())} units, {int(failed.sum())} of them failing")
    builder = model.builder(test)
    tested = builder.build(pairs.unit, pairs.time)
    scores: dict[str, Floats] = {MODEL: model.curve(tested)[:, 0]}
    begin = int(learn.observed_from[learn.observed_from > -FOREVER].min())
    drawn = sample(learn, begin, train_until - horizon, train_until, 0, horizon, settings, seed=0)
    if drawn.failed.any():
        say(f"fitting and scoring the baselines on the same {len(drawn.pairs)} pairs")
        values = baselines.category_values(learn)
        scores |= baselines.scores(
            baselines.inputs(learn, drawn.pairs, horizon, values),
            drawn.failed,
            drawn.weight,
            baselines.inputs(test, pairs, horizon, values),
            seed,
            horizon,
            jobs=settings.jobs,
            forest=forest,
        )
        if own:
            say("fitting and scoring the baselines on the model's own features")
            seen = np.unique(np.concatenate([member.columns for member in model.steps[0].members]))
            features = model.features(learn, drawn.pairs.unit, drawn.pairs.time)[:, seen]
            shift = baselines.prior_shift(drawn.failed, drawn.weight)
            few = not model.plan.signals
            fitted = baselines.learners(
                features, drawn.failed, tested[:, seen], seed, shift, few=few, jobs=settings.jobs
            )
            scores |= {name + baselines.OWN: probability for name, probability in fitted.items()}
    most = concentration(learn)
    category = "" if most is None else most.category
    return Trial(
        test.units,
        pairs.unit,
        pairs.time,
        failed,
        labels.next_failure(test, pairs),
        scores,
        baselines.PROBABILITIES | {MODEL},
        category=category,
        kind=test.categories[category][pairs.unit].astype(str).astype(object) if category else np.zeros(0, object),
        largest="" if most is None else most.value,
        concentrated="" if most is None else most.sentence,
        misfit=fit_at(model, builder, int(pairs.time[-1])).misfit,
    )


def run_anomaly(dataset: Dataset, *, seed: int = 0) -> list[Trial]:
    """One trial per unit of an anomaly dataset: every row after `healthy_until`, which no method was fitted on."""

    if dataset.anomalies is None or dataset.telemetry is None or dataset.healthy_until is None:
        raise BadInput("an anomaly backtest needs telemetry.parquet, anomalies.parquet and healthy_until")
    model = train_anomaly(dataset)
    telemetry, anomalies = dataset.telemetry, dataset.anomalies
    trials: list[Trial] = []
    for place in range(len(dataset.units)):
        rows = telemetry.unit == place
        values, time = telemetry.values[rows], telemetry.time[rows]
        healthy = time < dataset.healthy_until[place]
        asked = time[~healthy]
        failed = np.zeros(asked.size, bool)
        mine = anomalies.unit == place
        for start, end in zip(anomalies.start[mine], anomalies.end[mine], strict=True):
            failed |= (asked >= start) & (asked <= end)
        if not failed.any() or not healthy.any():
            continue
        unit = np.full(asked.size, place, np.int64)
        ours = score_anomaly(model, dataset, unit, asked, baseline_until=int(dataset.healthy_until[place]))
        scores = {MODEL: ours, **baselines.anomaly_scores(values[healthy], values[~healthy], seed)}
        trials.append(Trial(dataset.units, unit, asked, failed, asked, scores, frozenset()))
    return trials


def summarise(trial: Trial, *, rounds: int = 200) -> dict[str, dict[str, object]]:
    """Every number of the protocol for every method; intervals (90 %, by unit) for average precision and recall."""

    table: dict[str, dict[str, object]] = {}
    for name, probability in trial.scores.items():
        row = measures(trial, probability, calibrated=name in trial.calibrated)
        if rounds:
            row["average_precision_90%"] = evaluate.by_unit(
                lambda rows, p=probability: evaluate.average_precision(trial.failed[rows], p[rows]),
                trial.unit,
                rounds=rounds,
            )
            row["recall_at_fpr_0.1%_90%"] = evaluate.by_unit(
                lambda rows, p=probability: evaluate.recall_at_fpr(trial.failed[rows], p[rows], 0.001),
                trial.unit,
                rounds=rounds,
            )
        table[name] = row
    return table


def measures(trial: Trial, probability: Floats, *, calibrated: bool) -> dict[str, object]:
    """The numbers of one method, without intervals."""

    failed, time, unit = trial.failed, trial.time, trial.unit
    row: dict[str, object] = {
        "average_precision": evaluate.average_precision(failed, probability),
        "base_rate": float(failed.mean()),
        "recall_at_fpr_0.1%": evaluate.recall_at_fpr(failed, probability, 0.001),
        "recall_at_fpr_1%": evaluate.recall_at_fpr(failed, probability, 0.01),
    }
    for share, name in ((0.001, "0.1%"), (0.01, "1%")):
        precision, recall = evaluate.daily_top(failed, probability, time, unit, share)
        row[f"precision_top_{name}"], row[f"unit_recall_top_{name}"] = precision, recall
    lead = evaluate.lead_days(failed, probability, time, unit, trial.failed_at, 0.01)
    row["lead_days_top_1%"] = [float(q) for q in np.quantile(lead, (0.1, 0.5, 0.9))] if lead.size else []
    if calibrated:
        row["ece"] = evaluate.calibration_error(failed, probability)
        row["ece_by_rank"] = evaluate.calibration_error_by_rank(failed, probability)
        row["expected"], row["failures"] = float(probability.sum()), int(failed.sum())
        row["expected_top_tenth"], row["failures_top_tenth"] = evaluate.top_tenth(failed, probability)
        row["cost_by_price_ratio"] = {f"{r:g}": evaluate.expected_cost(failed, probability, r) for r in RATIOS}
    return row


def every_default(horizon: int) -> int:
    """How often to score in a trial when not told: daily for horizons of a week or less, else once a horizon."""
    return min(horizon, DAY) if horizon <= 7 * DAY else horizon
