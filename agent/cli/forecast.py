"""`lifeboat train`, `score`, `backtest`: forecasts from dataset folders (docs/forecast.md)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from models.forecast.data.dataset import Dataset
    from models.policy.policy import Policy

app = typer.Typer(rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(metavar="DATASET", help="Folder with units, telemetry, events … .parquet.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else there.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=-1, help="Processor cores to use; -1: all.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing about progress on standard error.")]
Backend = Annotated[
    str, typer.Option("--backend", help="Where fits run: threads (this machine) or ray (a Ray cluster).")
]


@app.command()
def train(
    dataset: Folder,
    horizon: Annotated[
        list[str], typer.Option("--horizon", help="How far ahead: 30m, 7d, 30d …; give it again for more horizons.")
    ] = ["7d"],  # noqa: B006
    until: Annotated[
        str | None, typer.Option("--until", help="Use nothing after this moment (RFC 3339); default: everything.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the model.")] = Path("model.lifeboat"),
    sign_key: Annotated[
        Path | None, typer.Option("--sign-key", help="Ed25519 private key (PEM) to sign the model with.")
    ] = None,
    jobs: Jobs = -1,
    backend: Backend = "threads",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a forecast. Without failures.parquet, an anomaly score is learnt from the part before healthy_until.

    Minutes for tens of thousands of units; what is being done goes to standard error.
    """
    from agent.cli.console import console, note, write_json
    from models.errors import BadInput
    from models.forecast.learned.anomaly import train_anomaly
    from models.forecast.learned.train import TrainingSettings
    from models.forecast.learned.train import train as fit
    from tools.forecast.model_files import save_model

    horizons = [_micros(text) for text in horizon]
    moment = None if until is None else time_option(until, "--until")
    if not output.parent.is_dir():
        raise BadInput(f"--output {output}: the folder {output.parent} does not exist")
    data = _read(dataset)
    if data.failures is None and data.healthy_until is not None:
        model = train_anomaly(data, until=moment)
    else:
        with _running_on(backend):
            model = fit(
                data, horizons, until=moment, settings=TrainingSettings(jobs=_cores(jobs)), say=_progress(quiet)
            )
    save_model(output, model, key=sign_key)
    if model.about.get("concentration"):
        note(f"lifeboat: {model.about['concentration']}")
    if as_json:
        write_json({"model": str(output), **model.about})
        return
    console().print(
        f"wrote {output}: {model.about['kind']} from {model.about['data_from']} to {model.about['data_until']}",
        soft_wrap=True,
    )
    held_out = model.about.get("held_out")
    if isinstance(held_out, dict):
        for name, numbers in held_out.items():  # pyright: ignore[reportUnknownVariableType]
            console().print(
                f"  {name}: on units and times it had not seen, average precision "
                f"{numbers['average_precision']:.3f} (base rate {numbers['base_rate']:.4f}, "
                f"{numbers['failures']} failures in {numbers['pairs']} scores), recall at 0.1 % false alarms "
                f"{numbers['recall_at_fpr_0.1%']:.2f}, calibration error {numbers['ece']:.5f}",
                soft_wrap=True,
            )


@app.command()
def score(
    dataset: Folder,
    model: Annotated[Path, typer.Option("--model", help="A model `lifeboat train` wrote.")],
    start: Annotated[str, typer.Option("--from", help="First scoring time (RFC 3339).")],
    until: Annotated[str, typer.Option("--until", help="Last scoring time (RFC 3339), included when it is hit.")],
    every: Annotated[str, typer.Option("--every", help="Step between scoring times: 5m, 1d, 30d …")] = "1d",
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet to write: unit, time, probability.")] = Path(
        "scores.parquet"
    ),
    horizon: Annotated[
        str | None, typer.Option("--horizon", help="Which of the model's horizons; default: the longest.")
    ] = None,
    trusted_key: Annotated[
        Path | None, typer.Option("--trusted-key", help="Ed25519 public key (PEM): refuse a model it did not sign.")
    ] = None,
    drivers: Annotated[int, typer.Option("--drivers", help="Explain the N highest scores of the last time.")] = 0,
    recent_level: Annotated[
        bool,
        typer.Option(
            "--recent-level", help="Move the level by what came since training, where that has proved better on it."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score every unit under observation at each time, from what was known at that time and nothing later.

    Says on standard error when the model does not fit what it sees at the last time.
    """
    import numpy as np

    from agent.cli.console import console, note, write_json
    from models.errors import BadInput
    from models.forecast.data import labels
    from models.forecast.data.as_of import span_name
    from models.forecast.data.dataset import known_at
    from models.forecast.learned.anomaly import AnomalyModel, score_anomaly
    from models.forecast.learned.drift import fit_at
    from models.forecast.learned.explain import drivers_of
    from models.forecast.learned.level import curve_at_recent_level
    from tools.forecast.datasets import write_scores
    from tools.forecast.model_files import load_model

    first, last, step = time_option(start, "--from"), time_option(until, "--until"), _micros(every)
    if last < first:
        raise BadInput(f"--until {until} is before --from {start}")
    loaded = load_model(model, trusted_key=trusted_key)
    data = known_at(_read(dataset), last)
    pairs = labels.at_risk(data, labels.grid(first, last, step))
    if not len(pairs):
        raise BadInput(f"no unit is under observation at any of the times from {start} until {until}")
    columns: dict[str, object] = {
        "unit": np.array(data.units, dtype=object)[pairs.unit].tolist(),
        "time": pairs.time,
    }
    explained: list[dict[str, object]] = []
    misfit = level = ""
    if isinstance(loaded, AnomalyModel):
        values = score_anomaly(loaded, data, pairs.unit, pairs.time, baseline_until=first)
        columns["probability"] = values
    else:
        place = loaded.place(None if horizon is None else _micros(horizon))
        builder = loaded.builder(data)
        if recent_level:
            curve, moved = curve_at_recent_level(loaded, builder, pairs.unit, pairs.time)
            level = "as in training: nothing else has proved better" if moved is None else moved.why
        else:
            curve = loaded.curve(builder.build(pairs.unit, pairs.time))
        values = curve[:, place]
        columns["probability"] = values
        if len(loaded.horizons) > 1:
            columns |= {f"probability_{span_name(h)}": curve[:, k] for k, h in enumerate(loaded.horizons)}
        misfit = fit_at(loaded, builder, int(pairs.time[-1])).misfit
        if drivers:
            latest = np.flatnonzero(pairs.time == pairs.time.max())
            top = latest[np.argsort(-values[latest], kind="stable")[:drivers]]
            explained = drivers_of(loaded, builder, pairs.unit[top], pairs.time[top], place)
    write_scores(output, columns)
    if as_json:
        units = len(np.unique(pairs.unit))
        said = {"misfit": misfit, "level": level, "drivers": explained}
        write_json({"scores": str(output), "rows": len(pairs), "units": units, **said})
        return
    if misfit:
        note(f"lifeboat: the model does not fit this dataset: {misfit}")
    if level:
        note(f"lifeboat: level at the last time: {level}")
    screen = console()
    screen.print(f"wrote {output}: {len(pairs)} scores of {len(np.unique(pairs.unit))} units", soft_wrap=True)
    for entry in explained:
        screen.print(f"{entry['unit']}: {entry['probability']:.1%}", markup=False, soft_wrap=True)
        for driver in entry["drivers"]:  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
            line = f"    {driver['why']} (without it {driver['without']:.1%})"  # pyright: ignore[reportUnknownVariableType]
            screen.print(line, markup=False, soft_wrap=True)  # pyright: ignore[reportUnknownArgumentType]


@app.command()
def backtest(
    dataset: Folder,
    train_until: Annotated[
        str | None,
        typer.Option("--train-until", help="Train up to here, test after (RFC 3339). Anomaly sets: ignored."),
    ] = None,
    horizon: Annotated[str, typer.Option("--horizon", help="How far ahead: 30m, 7d, 30d …")] = "7d",
    until: Annotated[str | None, typer.Option("--until", help="Use nothing after this moment; default: all.")] = None,
    every: Annotated[
        str | None, typer.Option("--every", help="Step between scores; default: a day, beyond 7d the horizon.")
    ] = None,
    unseen: Annotated[
        float, typer.Option("--unseen", min=0.0, max=0.9, help="Share of units kept out of training; 0: time alone.")
    ] = 0.3,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Repeat with this many splits by unit, each trained anew.")
    ] = 1,
    rounds: Annotated[int, typer.Option("--bootstrap", min=0, help="Bootstrap rounds for the 90 % intervals.")] = 200,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Canary: shuffled labels; all must fall to chance.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", help="HTML page to write: budgets, calibration, cost, kinds of unit (the first split's)."
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            "--price",
            min=0.0,
            max=1.0,
            help="Cost of a needless evacuation as a share of a failure's; default: the policy's drain.price.",
        ),
    ] = None,
    evacuation_time: Annotated[
        str | None,
        typer.Option(
            "--evacuation-time", help="How long an evacuation takes: 40m …; default: the policy's trigger.horizon."
        ),
    ] = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="Policy file (YAML) that says that.")] = None,
    jobs: Jobs = -1,
    backend: Backend = "threads",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure the forecast on units and times it has not seen, beside the baselines, with intervals by unit."""
    from agent.cli.console import console, note, write_json
    from agent.cli.terminal.backtest_table import WIDTH, backtest_table
    from agent.report.backtest_page import BacktestPage, write_backtest
    from models.errors import BadInput
    from models.forecast.learned.train import TrainingSettings
    from models.forecast.trials import backtest as trials
    from models.forecast.trials.worth import described

    cost, takes = _price(price, policy), _takes(evacuation_time, policy)
    data = _read(dataset)
    if data.failures is None:
        if report is not None:
            raise BadInput("--report needs failures.parquet: an anomaly score has no budget of evacuations to show")
        reports: list[dict[str, object]] = [
            {"unit": data.units[int(trial.unit[0])], "methods": trials.summarise(trial, rounds=0)}
            for trial in trials.run_anomaly(data)
        ]
    else:
        if train_until is None:
            raise BadInput("--train-until is needed: training stops there and testing begins")
        span, begins = _micros(horizon), time_option(train_until, "--train-until")
        reports = []
        with _running_on(backend):
            for seed in range(seeds):
                trial = trials.run(
                    data,
                    span,
                    begins,
                    trials.every_default(span) if every is None else _micros(every),
                    until=None if until is None else time_option(until, "--until"),
                    unseen=unseen,
                    seed=seed,
                    settings=TrainingSettings(jobs=_cores(jobs)),
                    shuffle=shuffle,
                    say=_progress(quiet, f"trial {seed + 1} of {seeds}: "),
                )
                if seed == 0 and trial.concentrated:
                    note(f"lifeboat: {trial.concentrated}")
                reports.append(described(trial, span, cost, takes=takes, rounds=rounds) | {"seed": seed})
                if seed == 0 and report is not None:
                    methods = cast("Mapping[str, Mapping[str, object]]", reports[0]["methods"])
                    write_backtest(
                        BacktestPage(dataset.resolve().name, trial, span, cost, begins, methods, takes), report
                    )
    if as_json:
        write_json({"dataset": str(dataset), "horizon": horizon, "train_until": train_until, "trials": reports})
        return
    for one in reports:
        console().print(backtest_table(one), crop=False, width=WIDTH)
    if report is not None:
        console().print(f"wrote {report}", soft_wrap=True)


def _price(price: float | None, policy: Path | None) -> float:
    """What a needless evacuation costs: as given, or as the policy says."""
    return _policy(policy).drain.price if price is None else price


def _takes(text: str | None, policy: Path | None) -> int:
    """How long an evacuation takes, in microseconds: as given, or as far ahead as the policy has one begun."""
    if text is not None:
        return _micros(text)
    return round(_policy(policy).trigger.horizon.total_seconds() * 1_000_000)


def _policy(policy: Path | None) -> Policy:
    from agent.documents import read_policy
    from models.policy.policy import Policy

    return Policy() if policy is None else read_policy(policy)


def _micros(text: str) -> int:
    from models.base import parse_duration
    from models.errors import BadInput

    try:
        span = parse_duration(text)
    except ValueError as error:
        raise BadInput(str(error)) from None
    if span.total_seconds() <= 0:
        raise BadInput(f"{text!r} is not longer than nothing")
    return round(span.total_seconds() * 1_000_000)


def time_option(text: str, option: str) -> int:
    """A time given as an option, in microseconds; without a zone it is UTC. Raises BadInput."""
    from datetime import UTC, datetime

    from models.errors import BadInput

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{option} {text!r} is not a time like 2026-03-01 or 2026-03-01T06:00:00Z") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(moment.timestamp() * 1_000_000)


def _cores(jobs: int) -> int:
    import os

    return jobs if jobs > 0 else len(os.sched_getaffinity(0))


def _progress(quiet: bool, about: str = "") -> Callable[[str], None]:
    """Writes lines about progress on stderr, with the time since now."""
    import time

    from agent.cli.console import note
    from models.forecast.learned.train import silent

    begun = time.monotonic()
    return silent if quiet else lambda line: note(f"{time.monotonic() - begun:5.0f} s  {about}{line}")


def _read(folder: Path) -> Dataset:
    from agent.cli.console import note
    from tools.forecast.datasets import read_dataset

    data = read_dataset(folder)
    for line in data.notes:
        note(f"lifeboat: {line}")
    return data


@contextmanager
def _running_on(backend: str) -> Generator[None]:
    """Where joblib runs features and fits: threads here, or a Ray cluster (RAY_ADDRESS, else a local one for this run)."""
    from joblib import parallel_config

    from models.errors import BadInput
    from models.extras import missing

    if backend == "threads":
        with parallel_config(backend="threading"):
            yield
        return
    if backend != "ray":
        raise BadInput(f"--backend {backend} is neither threads nor ray")
    try:
        import ray  # pyright: ignore
        from ray.util.joblib import register_ray  # pyright: ignore
    except ImportError:
        raise missing("ray") from None
    ours = not ray.is_initialized()
    if ours:
        ray.init(logging_level="ERROR", log_to_driver=False)
    register_ray()
    try:
        with parallel_config(backend="ray"):
            yield
    finally:
        if ours:
            ray.shutdown()
