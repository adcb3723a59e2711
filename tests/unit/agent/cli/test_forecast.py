"""train → score → backtest, as an operator types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scenes.fleet_history import QUICK, START, frames
from typer.testing import CliRunner

from agent.cli.forecast import app
from models.errors import BadInput, ModelInvalid
from models.forecast.learned import train as training

CUT = "2024-03-21T00:00:00Z"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "TrainingSettings", lambda **_: QUICK)


def _folder(path: Path, tables: dict[str, pl.DataFrame]) -> Path:
    path.mkdir()
    for name, table in tables.items():
        table.write_parquet(path / f"{name}.parquet")
    return path


def _run(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_train_then_score_without_failures_on_other_units(tmp_path: Path) -> None:
    known = _folder(tmp_path / "known", frames(100, seed=1))
    others = frames(80, seed=2)
    failures = others.pop("failures")
    unknown = _folder(tmp_path / "unknown", others)
    model, scores = tmp_path / "model", tmp_path / "scores.parquet"
    said = json.loads(_run("train", known, "--horizon", "7d", "--until", CUT, "-o", model, "--json"))
    assert said["data_until"] == CUT
    _run("score", unknown, "--model", model, "--from", CUT, "--until", "2024-04-15", "--every", "5d", "-o", scores)
    table = pl.read_parquet(scores)
    assert table.columns[:3] == ["unit", "time", "probability"]
    assert table.schema["time"] == pl.Datetime("us", "UTC")
    assert table["probability"].is_between(0, 1).all()
    soon = table.join(failures, on="unit").filter(
        (pl.col("failed_at") > pl.col("time")) & (pl.col("failed_at") <= pl.col("time") + pl.duration(days=5))
    )
    assert soon["probability"].mean() > 3 * table["probability"].mean()  # type: ignore[operator]


def test_backtest_reports_the_model_beside_the_baselines(tmp_path: Path) -> None:
    known = _folder(tmp_path / "known", frames(60, seed=1))
    words = ("backtest", known, "--horizon", "7d", "--train-until", CUT, "--every", "4d", "--unseen", "0.5")
    methods = json.loads(_run(*words, "--bootstrap", "5", "--json"))["trials"][0]["methods"]
    assert {"lifeboat", "random", "logistic regression", "gradient boosting", "random forest"} <= set(methods)
    assert methods["lifeboat"]["average_precision"] > methods["random"]["average_precision"]
    row = methods["lifeboat"]
    assert row["average_precision_90%"][0] <= row["average_precision"] <= row["average_precision_90%"][1]
    assert {"ece", "cost_by_price_ratio", "lead_days_top_1%", "unit_recall_top_1%", "base_rate"} <= set(row)


@pytest.mark.slow
def test_backtest_writes_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    tables = frames(60, seed=1)
    tables["units"] = tables["units"].with_columns(pl.col("model").replace("worse", "<b>worse</b>"))
    known, page = _folder(tmp_path / "known", tables), tmp_path / "page.html"
    words = ("backtest", known, "--horizon", "7d", "--train-until", CUT, "--every", "4d", "--unseen", "0.5")
    trial = json.loads(_run(*words, "--bootstrap", "5", "--report", page, "--price", "0.5", "--json"))["trials"][0]
    html = page.read_text(encoding="utf-8")
    for heading in ("budget of evacuations", "mean what it says", "costs to act on it", "Beside other methods"):
        assert heading in html
    assert html.count("<svg") == 4
    assert "<b>worse</b>" not in html
    assert "<script" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    for spent in trial["budgets"]:
        assert 0 <= spent["caught"] <= spent["failures"]
        assert spent["saving"] == pytest.approx(spent["caught"] - 0.5 * spent["needless"])
    assert trial["beside_the_best_peer"]["verdict"] in ("better", "worse", "cannot be told")


@pytest.mark.slow
def test_a_dataset_in_which_one_model_makes_up_most_failures_is_named_in_one_line(tmp_path: Path) -> None:
    tables = frames(200, seed=3)
    better = pl.col("model") == "better"
    kept = tables["units"].filter(~better).get_column("unit").to_list()
    tables["failures"] = tables["failures"].filter(pl.col("unit").is_in(kept))
    known = _folder(tmp_path / "known", tables)
    done = CliRunner().invoke(app, ["train", str(known), "--quiet", "-o", str(tmp_path / "model")])
    lines = [line for line in done.stderr.splitlines() if "failures are of model worse" in line]
    assert len(lines) == 1
    assert "25% of the units" in lines[0]


def test_anomaly_sets_take_the_same_commands(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    minutes, healthy = 3000, 2000
    time = pl.datetime_range(START, START + pl.duration(minutes=minutes - 1), "1m", eager=True)
    values = random.normal(size=(minutes, 3))
    values[:, 1] = values[:, 0] + 0.1 * random.normal(size=minutes)
    values[2500:2600, 1] *= -1
    telemetry = pl.DataFrame({"unit": ["s"] * minutes, "time": time, "a": values[:, 0], "b": values[:, 1]})
    units = pl.DataFrame(
        {"unit": ["s"], "observed_from": [START], "observed_until": [None], "healthy_until": time[healthy]}
    )
    folder = _folder(tmp_path / "servers", {"units": units, "telemetry": telemetry})
    model, scores = tmp_path / "model", tmp_path / "scores.parquet"
    assert json.loads(_run("train", folder, "-o", model, "--json"))["labels_used"] is False
    _run("score", folder, "--model", model, "--from", time[healthy], "--until", time[-1], "--every", "1m", "-o", scores)
    table = pl.read_parquet(scores)
    broken = table.filter(pl.col("time").is_between(time[2515], time[2590]))["probability"]
    before = table.filter(pl.col("time") < time[2500])["probability"]
    assert float(np.median(broken)) > float(np.quantile(before, 0.99))


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    known = _folder(tmp_path / "known", frames(30))
    (tmp_path / "model").write_bytes(b"not a model")
    asked = ("score", known, "--model", tmp_path / "model", "--from", CUT, "--until", "2024-04-15")
    with pytest.raises(ModelInvalid, match="not a whole lifeboat model file"):
        _run(*asked)
    with pytest.raises(BadInput, match="not a duration"):
        _run("train", known, "--horizon", "soon")
    with pytest.raises(BadInput, match="--until 'yesterday'"):
        _run("train", known, "--until", "yesterday")
    with pytest.raises(BadInput, match="does not exist"):
        _run("train", known, "-o", tmp_path / "nowhere" / "model")
    with pytest.raises(BadInput, match="is before --from"):
        _run("score", known, "--model", tmp_path / "model", "--from", CUT, "--until", "2024-01-01")
