"""A dataset as the forecast sees it: sorted numpy columns, checked once, nothing read or written here.

A dataset is what docs/forecast.md calls a folder: units, and any of telemetry, events, failures, anomalies.
`build` takes the frames as they were read and either raises DatasetInvalid (one line: table, column, what was expected)
or repairs what can be repaired without guessing and says so in `notes`. Times are int64 microseconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.errors import DatasetInvalid
from models.forecast.data.data_checks import examine

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS
FOREVER = np.iinfo(np.int64).max // 4
"""Stands for "not yet": far enough to compare with, near enough to add a horizon to."""

TABLES = ("units", "telemetry", "events", "failures", "anomalies")
_TIMES = {
    "units": ("observed_from", "observed_until", "healthy_until"),
    "telemetry": ("time",),
    "events": ("time",),
    "failures": ("failed_at",),
    "anomalies": ("start", "end"),
}
_REQUIRED = {
    "units": ("unit", "observed_from", "observed_until"),
    "telemetry": ("unit", "time"),
    "events": ("unit", "time", "kind"),
    "failures": ("unit", "failed_at"),
    "anomalies": ("unit", "start", "end"),
}


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Rows sorted by unit, then time. `values[i, s]` is signal s as row i reported it; NaN means not reported."""

    unit: Ints
    time: Ints
    signals: tuple[str, ...]
    values: Floats


@dataclass(frozen=True, slots=True)
class Events:
    """Log events sorted by unit, then time. `kind` indexes `kinds`."""

    unit: Ints
    time: Ints
    kind: Ints
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spans:
    """Things that happened to a unit, sorted by unit, then start. For a failure, end equals start."""

    unit: Ints
    start: Ints
    end: Ints


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything is indexed by the position of a unit in `units`, which is sorted by name."""

    units: tuple[str, ...]
    observed_from: Ints
    observed_until: Ints
    healthy_until: Ints | None = None
    numbers: Mapping[str, Floats] = field(default_factory=dict[str, Floats])
    categories: Mapping[str, NDArray[np.object_]] = field(default_factory=dict[str, "NDArray[np.object_]"])
    telemetry: Telemetry | None = None
    events: Events | None = None
    failures: Spans | None = None
    anomalies: Spans | None = None
    notes: tuple[str, ...] = ()

    @property
    def last_time(self) -> int:
        """The latest moment this dataset knows anything about (microseconds)."""
        known = [int(t.time.max()) for t in (self.telemetry, self.events) if t is not None and t.time.size]
        until = self.observed_until[self.observed_until < FOREVER]
        known += [int(until.max())] if until.size else []
        known += [int(self.failures.start.max())] if self.failures is not None and self.failures.start.size else []
        return max(known) if known else int(self.observed_from.max())


def known_at(dataset: Dataset, time: int) -> Dataset:
    """`dataset` as it stood at `time` (microseconds): later rows, events and failures have not happened yet.

    Units first observed after `time` stay, unobserved; a unit that will be removed later is still observed.
    """

    telemetry, events, failures, anomalies = dataset.telemetry, dataset.events, dataset.failures, dataset.anomalies
    if telemetry is not None:
        keep = telemetry.time <= time
        telemetry = replace(
            telemetry, unit=telemetry.unit[keep], time=telemetry.time[keep], values=telemetry.values[keep]
        )
    if events is not None:
        keep = events.time <= time
        events = replace(events, unit=events.unit[keep], time=events.time[keep], kind=events.kind[keep])
    if failures is not None:
        keep = failures.start <= time
        failures = Spans(failures.unit[keep], failures.start[keep], failures.end[keep])
    if anomalies is not None:
        keep = anomalies.start <= time
        anomalies = Spans(anomalies.unit[keep], anomalies.start[keep], anomalies.end[keep])
    until = np.where(dataset.observed_until <= time, dataset.observed_until, FOREVER)
    return replace(
        dataset,
        observed_until=until,
        telemetry=telemetry,
        events=events,
        failures=failures,
        anomalies=anomalies,
    )


def take_units(dataset: Dataset, keep: NDArray[np.bool_]) -> Dataset:
    """The part of `dataset` about the units where `keep` (one flag a unit) is true."""

    place = np.cumsum(keep) - 1

    def spans(table: Spans | None) -> Spans | None:
        if table is None:
            return None
        rows = keep[table.unit]
        return Spans(place[table.unit[rows]], table.start[rows], table.end[rows])

    telemetry, events = dataset.telemetry, dataset.events
    if telemetry is not None:
        rows = keep[telemetry.unit]
        telemetry = replace(
            telemetry, unit=place[telemetry.unit[rows]], time=telemetry.time[rows], values=telemetry.values[rows]
        )
    if events is not None:
        rows = keep[events.unit]
        events = replace(events, unit=place[events.unit[rows]], time=events.time[rows], kind=events.kind[rows])
    return replace(
        dataset,
        units=tuple(name for name, kept in zip(dataset.units, keep, strict=True) if kept),
        observed_from=dataset.observed_from[keep],
        observed_until=dataset.observed_until[keep],
        healthy_until=None if dataset.healthy_until is None else dataset.healthy_until[keep],
        numbers={name: column[keep] for name, column in dataset.numbers.items()},
        categories={name: column[keep] for name, column in dataset.categories.items()},
        telemetry=telemetry,
        events=events,
        failures=spans(dataset.failures),
        anomalies=spans(dataset.anomalies),
    )


def build(frames: Mapping[str, pl.DataFrame], *, now: datetime | None = None) -> Dataset:
    """Check and sort the tables of a dataset.

    frames: table name (units, telemetry, events, failures, anomalies) to what was read; `units` may be missing, then
    every unit is taken as observed from its first row on. now: rows later than this are dropped and noted.
    Raises DatasetInvalid.
    """

    notes: list[str] = []
    tables = {name: _typed(name, frame, notes) for name, frame in frames.items()}
    if not any(name in tables for name in ("telemetry", "events", "units")):
        raise DatasetInvalid("the dataset has none of units.parquet, telemetry.parquet and events.parquet")
    limit = None if now is None else now.astimezone(UTC)
    for name in ("telemetry", "events", "failures"):
        if limit is not None and name in tables:
            column = _TIMES[name][0]
            late = tables[name].filter(pl.col(column) > limit)
            if late.height:
                notes.append(
                    f"{name}.parquet: {late.height} rows lie in the future (first: unit {late['unit'][0]} at "
                    f"{late[column].min()}) and were left out"
                )
                tables[name] = tables[name].filter(pl.col(column) <= limit)
    units = tables["units"] if "units" in tables else _units_from(tables, notes)
    units = units.sort("unit")
    if units.is_empty():
        raise DatasetInvalid("units.parquet has no rows")
    if units["unit"].is_duplicated().any():
        name = units.filter(pl.col("unit").is_duplicated())["unit"][0]
        raise DatasetInvalid(f"units.parquet: unit {name} is listed more than once")
    wrong = units.filter(pl.col("observed_until") < pl.col("observed_from"))
    if wrong.height:
        raise DatasetInvalid(f"units.parquet: unit {wrong['unit'][0]} is observed_until before its observed_from")
    names = units.select("unit", pl.int_range(pl.len(), dtype=pl.Int64).alias("_at"))
    numbers: dict[str, Floats] = {}
    categories: dict[str, NDArray[np.object_]] = {}
    for column in units.columns:
        if column in _REQUIRED["units"] or column == "healthy_until":
            continue
        if units[column].dtype.is_numeric() or units[column].dtype == pl.Boolean:
            values = units[column].cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
            values[~np.isfinite(values)] = np.nan
            numbers[column] = values
        elif isinstance(units[column].dtype, pl.String | pl.Categorical | pl.Enum):
            categories[column] = np.array(units[column].cast(pl.String).fill_null("").to_list(), dtype=object)
        else:
            notes.append(f"units.parquet: column {column} is a {units[column].dtype}, which is not used")
    spans = {name: _spans(name, tables[name], names, notes) for name in ("failures", "anomalies") if name in tables}
    healthy = _micros(units["healthy_until"], FOREVER) if "healthy_until" in units.columns else None
    return Dataset(
        units=tuple(units["unit"].to_list()),
        observed_from=_micros(units["observed_from"], -FOREVER),
        observed_until=_micros(units["observed_until"], FOREVER),
        healthy_until=healthy,
        numbers=numbers,
        categories=categories,
        telemetry=_telemetry(tables["telemetry"], names, notes) if "telemetry" in tables else None,
        events=_events(tables["events"], names, notes) if "events" in tables else None,
        failures=spans.get("failures"),
        anomalies=spans.get("anomalies"),
        notes=tuple(notes),
    )


def _micros(column: pl.Series, missing: int) -> Ints:
    return column.dt.epoch("us").fill_null(missing).to_numpy().astype(np.int64)


def _typed(name: str, frame: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """`frame` with names as strings and times in UTC microseconds, or the line that says why not."""

    for column in _REQUIRED[name]:
        if column not in frame.columns:
            if column == "observed_until":
                frame = frame.with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias(column))
                continue
            raise DatasetInvalid(f"{name}.parquet: column {column} is missing; it has {', '.join(frame.columns)}")
    casts: list[pl.Expr] = []
    for column in ("unit", "kind"):
        if column in _REQUIRED[name]:
            if not isinstance(frame[column].dtype, pl.String | pl.Categorical | pl.Enum):
                raise DatasetInvalid(f"{name}.parquet: column {column} is {frame[column].dtype}, expected text")
            if frame[column].null_count():
                raise DatasetInvalid(f"{name}.parquet: column {column} is null in {frame[column].null_count()} rows")
            casts.append(pl.col(column).cast(pl.String))
    for column in _TIMES[name]:
        if column not in frame.columns:
            continue
        kind = frame[column].dtype
        if kind == pl.Null:
            casts.append(pl.col(column).cast(pl.Datetime("us", "UTC")))
            continue
        if not isinstance(kind, pl.Datetime):
            raise DatasetInvalid(f"{name}.parquet: column {column} is {kind}, expected a UTC timestamp")
        if kind.time_zone is None:
            notes.append(f"{name}.parquet: column {column} has no time zone and was read as UTC")
            casts.append(pl.col(column).dt.replace_time_zone("UTC").dt.cast_time_unit("us"))
        else:
            casts.append(pl.col(column).dt.convert_time_zone("UTC").dt.cast_time_unit("us"))
        if column not in ("observed_until", "healthy_until") and frame[column].null_count():
            raise DatasetInvalid(f"{name}.parquet: column {column} is null in {frame[column].null_count()} rows")
    return frame.with_columns(casts)


def _units_from(tables: Mapping[str, pl.DataFrame], notes: list[str]) -> pl.DataFrame:
    """Units known only by their rows: observed from the first row on, never removed."""

    rows = pl.concat([tables[name].select("unit", "time") for name in ("telemetry", "events") if name in tables])
    if rows.is_empty():
        raise DatasetInvalid("the dataset has no units.parquet, and its other tables have no rows to take units from")
    notes.append("no units.parquet: every unit is taken as observed from its first row on")
    return rows.group_by("unit").agg(
        pl.col("time").min().alias("observed_from"),
        pl.lit(None, pl.Datetime("us", "UTC")).alias("observed_until"),
    )


def _placed(name: str, frame: pl.DataFrame, names: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """`frame` with `_at`, the place of its unit; rows about units nobody listed are left out and noted."""

    placed = frame.join(names, on="unit", how="left")
    strangers = placed.filter(pl.col("_at").is_null())
    if strangers.height:
        notes.append(
            f"{name}.parquet: {strangers.height} rows are about {strangers['unit'].n_unique()} units that units.parquet "
            f"does not list (first: {strangers['unit'][0]}) and were left out"
        )
        placed = placed.filter(pl.col("_at").is_not_null())
    return placed


def _telemetry(frame: pl.DataFrame, names: pl.DataFrame, notes: list[str]) -> Telemetry:
    signals = [column for column in frame.columns if column not in ("unit", "time")]
    if not signals:
        raise DatasetInvalid("telemetry.parquet has no signal columns beside unit and time")
    if frame.is_empty():
        raise DatasetInvalid("telemetry.parquet has no rows")
    for column in signals:
        kind = frame[column].dtype
        if not (kind.is_numeric() or isinstance(kind, pl.Boolean | pl.Null)):
            raise DatasetInvalid(f"telemetry.parquet: signal {column} is {kind}, expected a number")
    frame = frame.with_columns(pl.col(signals).cast(pl.Float64))
    placed = _placed("telemetry", frame, names, notes)
    for column in signals:
        odd = int((placed[column].is_not_null() & ~placed[column].is_finite()).sum())
        if odd:
            notes.append(f"telemetry.parquet: {odd} values of {column} are NaN or infinite and count as not reported")
    placed = placed.with_columns(
        pl.when(pl.col(column).is_finite()).then(pl.col(column)).otherwise(None).alias(column) for column in signals
    )
    repeated = placed.height - placed.select("_at", "time").n_unique()
    if repeated:
        placed = placed.unique(maintain_order=True)
        clash = placed.filter(pl.struct("_at", "time").is_duplicated())
        if clash.height:
            raise DatasetInvalid(
                f"telemetry.parquet: unit {clash['unit'][0]} has more than one row at {clash['time'][0]} and they "
                "disagree"
            )
        notes.append(f"telemetry.parquet: {repeated} rows were there twice, the same, and count once")
    placed = placed.sort("_at", "time")
    values = placed.select(signals).fill_null(np.nan).to_numpy().astype(np.float64)
    unit = placed["_at"].to_numpy().astype(np.int64)
    notes += examine(unit, placed["time"], names["unit"], signals, values)
    silent = names.height - placed["_at"].n_unique()
    if silent:
        nobody = names.filter(~pl.col("_at").is_in(placed["_at"].unique().implode()))["unit"][0]
        notes.append(
            f"telemetry.parquet: {silent} of {names.height} units have no row in it (first: {nobody}); nothing is known of "
            "their signals, which does not make them healthy"
            + ("; is one the same as a unit not listed, under another name?" if placed.height < frame.height else "")
        )
    return Telemetry(
        unit=unit,
        time=_micros(placed["time"], 0),
        signals=tuple(signals),
        values=np.ascontiguousarray(values),
    )


def _events(frame: pl.DataFrame, names: pl.DataFrame, notes: list[str]) -> Events:
    placed = _placed("events", frame.select("unit", "time", "kind"), names, notes).sort("_at", "time", "kind")
    kinds = sorted(placed["kind"].unique().to_list())
    codes = {kind: code for code, kind in enumerate(kinds)}
    kind = placed["kind"].replace_strict(codes, return_dtype=pl.Int64) if kinds else pl.Series([], dtype=pl.Int64)
    return Events(
        unit=placed["_at"].to_numpy().astype(np.int64),
        time=_micros(placed["time"], 0),
        kind=kind.to_numpy().astype(np.int64),
        kinds=tuple(kinds),
    )


def _spans(name: str, frame: pl.DataFrame, names: pl.DataFrame, notes: list[str]) -> Spans:
    start, end = ("failed_at", "failed_at") if name == "failures" else ("start", "end")
    placed = _placed(name, frame, names, notes)
    once = placed.unique(["_at", start, end])
    if once.height < placed.height:
        notes.append(f"{name}.parquet: {placed.height - once.height} rows were there twice and count once")
    once = once.sort("_at", start)
    if once.filter(pl.col(end) < pl.col(start)).height:
        raise DatasetInvalid(f"{name}.parquet: a row ends before it starts")
    return Spans(
        unit=once["_at"].to_numpy().astype(np.int64),
        start=_micros(once[start], 0),
        end=_micros(once[end], 0),
    )
