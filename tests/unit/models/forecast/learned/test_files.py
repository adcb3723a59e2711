"""Model files and dataset folders as they come in: damaged, altered, from elsewhere."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scenes.fleet_history import CUT, START, frames

from models.errors import DatasetInvalid, ModelInvalid
from models.forecast.data import labels
from models.forecast.data.dataset import Dataset, build
from models.forecast.learned import serialise as store
from models.forecast.learned.predict import Forecast, score
from tools.forecast.datasets import read_dataset


@pytest.fixture(scope="module")
def data(model: Forecast) -> bytes:
    return store.dumps(model)


def test_a_model_comes_back_as_it_went(model: Forecast, fleet: Dataset, data: bytes) -> None:
    back = store.loads(data)
    assert isinstance(back, Forecast)
    pairs = labels.at_risk(fleet, np.array([CUT]))
    assert np.array_equal(score(model, fleet, pairs.unit, pairs.time), score(back, fleet, pairs.unit, pairs.time))
    assert back.about["held_out"]


def test_every_truncation_and_every_flipped_byte_is_refused(data: bytes) -> None:
    random = np.random.default_rng(0)
    for length in (0, 3, 20, 200, len(data) // 2, len(data) - 1):
        with pytest.raises(ModelInvalid):
            store.loads(data[:length])
    head = range(0, 90, 7)
    for place in (*head, *random.integers(90, len(data), 20)):
        altered = bytearray(data)
        altered[place] ^= 0x21
        with pytest.raises(ModelInvalid) as caught:
            store.loads(bytes(altered))
        assert "\n" not in str(caught.value)


def test_another_version_says_so(data: bytes) -> None:
    with pytest.raises(ModelInvalid, match="format 99"):
        store.loads(data.replace(b"lifeboat-model %d" % store.FORMAT, b"lifeboat-model 99", 1))


def test_a_model_trained_with_other_features_scores_nothing(model: Forecast, fleet: Dataset) -> None:
    other = replace(model, names=("rows.age", *model.names))
    pairs = labels.at_risk(fleet, np.array([CUT]))
    with pytest.raises(ModelInvalid, match="other features"):
        score(other, fleet, pairs.unit, pairs.time)


def test_only_the_trusted_key_s_signature_counts(model: Forecast, data: bytes) -> None:
    ours, theirs = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    signed = store.dumps(model, ours)
    assert isinstance(store.loads(signed, ours.public_key()), Forecast)
    with pytest.raises(ModelInvalid, match="not signed by the trusted key"):
        store.loads(store.dumps(model, theirs), ours.public_key())
    with pytest.raises(ModelInvalid, match="no signature"):
        store.loads(data, ours.public_key())


def test_a_type_that_has_no_place_in_a_model_is_never_built(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even under a right hash: only the listed types are rebuilt."""
    monkeypatch.setattr(store, "TRUSTED", [])
    with pytest.raises(ModelInvalid, match="types that have no place"):
        store.loads(data)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    import pickle

    with pytest.raises(ModelInvalid):
        store.loads(pickle.dumps({"harmless": True}))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("about.json", "{}")
    with pytest.raises(ModelInvalid):
        store.loads(archive.getvalue())


def test_repairable_data_is_repaired_and_named() -> None:
    tables = frames(12)
    telemetry = tables["telemetry"]
    bad = telemetry.with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(float("inf")).otherwise(pl.col("temperature")).alias("temperature")
    )
    later = telemetry.head(1).with_columns(pl.lit(datetime(2999, 1, 1, tzinfo=UTC)).alias("time"))
    stranger = telemetry.head(1).with_columns(pl.lit("node-nobody").alias("unit"))
    tables["telemetry"] = pl.concat([bad, bad.head(2), later.cast(dict(bad.schema)), stranger])
    notes = "\n".join(build(tables, now=datetime(2026, 1, 1, tzinfo=UTC)).notes)
    for said in ("1 values of temperature are NaN or infinite", "in the future", "there twice", "does not list"):
        assert said in notes


def _without_time(table: pl.DataFrame) -> pl.DataFrame:
    return table.drop("time")


def _text_signal(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.lit("hot").alias("temperature"))


def _number_time(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.lit(5).alias("time"))


def _clash(table: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([table, table.head(1).with_columns(pl.col("temperature") + 1)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without_time, "telemetry.parquet: column time is missing"),
        (_text_signal, "signal temperature is String, expected a number"),
        (_number_time, "column time is Int32, expected a UTC timestamp"),
        (_clash, "more than one row at"),
        (lambda table: table.head(0), "telemetry.parquet has no rows"),
        (lambda table: table.select("unit", "time"), "no signal columns"),
    ],
)
def test_unusable_telemetry_is_one_line(change, said: str) -> None:  # type: ignore[no-untyped-def]
    tables = frames(6)
    tables["telemetry"] = change(tables["telemetry"])
    with pytest.raises(DatasetInvalid, match=said) as caught:
        build(tables)
    assert "\n" not in str(caught.value)


def test_unusable_units_are_one_line() -> None:
    tables = frames(6)
    units = tables["units"]
    with pytest.raises(DatasetInvalid, match="listed more than once"):
        build({**tables, "units": pl.concat([units, units.head(1)])})
    early = units.with_columns(pl.lit(START - timedelta(days=9)).alias("observed_until"))
    with pytest.raises(DatasetInvalid, match="before its observed_from"):
        build({**tables, "units": early.cast(dict(units.schema))})


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match="is not a folder"):
        read_dataset(tmp_path / "nothing")
    with pytest.raises(DatasetInvalid, match="has none of"):
        read_dataset(tmp_path)
    frames(6)["telemetry"].write_parquet(tmp_path / "telemetry.parquet")
    whole = (tmp_path / "telemetry.parquet").read_bytes()
    (tmp_path / "telemetry.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetInvalid, match="not a whole parquet file"):
        read_dataset(tmp_path)
    (tmp_path / "telemetry.parquet").write_bytes(b"")
    with pytest.raises(DatasetInvalid, match="it is empty"):
        read_dataset(tmp_path)


def _hotter(table: pl.DataFrame) -> pl.DataFrame:
    later = pl.col("time") > START + timedelta(days=60)
    return table.with_columns(
        pl.when(later).then(pl.col("temperature") * 1000).otherwise("temperature").alias("temperature")
    )


def _younger(table: pl.DataFrame) -> pl.DataFrame:
    of_one = (pl.col("time") > START + timedelta(days=10)) & (pl.col("unit") == "node-001")
    return table.with_columns(
        (pl.col("power_on_hours") - pl.when(of_one).then(5e3).otherwise(0.0)).alias("power_on_hours")
    )


def _renamed(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.col("unit").replace("node-002", "node-2"))


def _glitch(table: pl.DataFrame) -> pl.DataFrame:
    once = pl.int_range(pl.len()) == 40
    return table.with_columns(
        pl.when(once).then(pl.col("temperature") * 1000).otherwise("temperature").alias("temperature")
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            _hotter,
            r"temperature reads [\d.]+ after [\d.]+ and stays so, as if in another unit, in \d+ units \(first: unit node-0",
        ),
        (_younger, "power_on_hours, which otherwise only grows, fell in 1 rows of 1 units .first: unit node-001"),
        (
            _renamed,
            "1 of 12 units have no row in it .first: node-002.*does not make them healthy; is one the same .*another name",
        ),
    ],
)
def test_odd_telemetry_is_named(change, said: str) -> None:  # type: ignore[no-untyped-def]
    tables = frames(12)
    odd = build({**tables, "telemetry": change(tables["telemetry"])})
    (note,) = (note for note in odd.notes if re.search(said, note))
    assert "\n" not in note


@pytest.mark.parametrize("change", [lambda table: table, _glitch])
def test_ordinary_telemetry_is_not(change) -> None:  # type: ignore[no-untyped-def]
    tables = frames(40)
    assert build({**tables, "telemetry": change(tables["telemetry"])}).notes == ()
