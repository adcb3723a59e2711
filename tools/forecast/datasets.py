"""Reads and writes dataset folders (docs/forecast.md), and writes scores. What is wrong with a file is said in one line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from models.errors import BadInput, DatasetInvalid
from models.forecast.data.dataset import TABLES, Dataset, build
from tools.atomic_file import replacing
from tools.parquet import read_parquet


def read_dataset(folder: Path, *, now: datetime | None = None) -> Dataset:
    """The dataset in `folder`: `units.parquet` and any of the other tables. Rows after `now` (default: the clock)
    are left out and noted. Raises DatasetInvalid."""

    if not folder.is_dir():
        raise DatasetInvalid(f"{folder} is not a folder", hint="a dataset is a folder of parquet files")
    frames = {name: _read(folder / f"{name}.parquet") for name in TABLES if (folder / f"{name}.parquet").exists()}
    if not frames:
        raise DatasetInvalid(f"{folder} has none of {', '.join(f'{name}.parquet' for name in TABLES)}")
    try:
        return build(frames, now=now or datetime.now(UTC))
    except DatasetInvalid as error:
        raise DatasetInvalid(f"{folder}: {error.message}", hint=error.hint) from None


def _read(path: Path) -> pl.DataFrame:
    try:
        return read_parquet(path, quiet=True)
    except (PolarsError, OSError) as error:
        size = path.stat().st_size
        why = "it is empty" if size == 0 else f"it is not a whole parquet file ({' '.join(str(error).split())[:120]})"
        raise DatasetInvalid(f"{path} cannot be read: {why}") from None


def write_dataset(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Write the tables as a dataset folder, in place of what stood there under their names. Raises BadInput."""

    try:
        folder.mkdir(exist_ok=True)
        for name, frame in tables.items():
            with replacing(folder / f"{name}.parquet", mode=None) as new:
                frame.write_parquet(new)
    except (OSError, PolarsError) as error:
        raise BadInput(f"{folder} cannot be written ({error})") from None


def write_scores(path: Path, columns: Mapping[str, object]) -> None:
    """Write one parquet file; `time` is microseconds since 1970 and becomes a UTC timestamp. Raises BadInput."""

    frame = pl.DataFrame(dict(columns)).with_columns(
        pl.from_epoch("time", time_unit="us").dt.replace_time_zone("UTC").alias("time")
    )
    try:
        with replacing(path, mode=None) as new:
            frame.write_parquet(new)
    except (OSError, PolarsError) as error:
        raise BadInput(f"{path} cannot be written ({error})") from None
