"""The fleet's past on disk, hour by hour, for as long as there is room: what the summary ring forgets after two weeks.

    DIRECTORY/nodes-2026-11-24.parquet     a day's rows of nodes (models/forecast/history/rows.py), `storage-…` those of disks
    DIRECTORY/events-2026-11-24.parquet    a day's hardware events
    DIRECTORY/state.npz                    how far it goes, each unit's row kept last, spells without a reboot

The state is replaced last: rows beyond it were written by a run that did not get that far, and are written anew. One process
writes, any may read.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from models.errors import BadInput
from models.forecast.history.lives import TIME, History, moment
from models.forecast.history.rows import (
    BOOT_TOLERANCE,
    HOUR,
    UP,
    UPTIME,
    Column,
    Kept,
    Rows,
    boots,
    node_columns,
    node_values,
    part_columns,
    part_values,
    thin,
)
from models.risk.incidents import Spell, continued
from models.risk.signal import Component, HardwareEvent, Signal, Summaries
from tools.atomic_file import write_atomically
from tools.parquet import read_parquet

VERSION = 1
PARTS = (Component.STORAGE,)
"""Components whose parts are kept one by one, because there are public data to learn about them from."""
SAME_EVENT_SECONDS = 15.0
"""What two logs tell within this time is one event (`agent.observe.observe`)."""
_EVENT = ("node", "time", "kind", "component", "severity", "part", "asserted")


class HistoryStore:
    """Open for reading at once; `append` is for the one process that keeps it."""

    def __init__(self, directory: Path, signals: Sequence[Signal]) -> None:
        """Reads how far it goes. Raises BadInput when it can't be read or is of another version."""
        self.directory = directory
        self.columns: dict[str, tuple[Column, ...]] = {"nodes": node_columns(signals)}
        self.columns |= {part.value: part_columns(signals, part) for part in PARTS}
        self.since = self.until = 0
        """unix seconds; 0: nothing yet"""
        self._kept = {name: Kept.nothing(len(columns)) for name, columns in self.columns.items()}
        self._spells: dict[str, list[Spell]] = {}
        path = directory / "state.npz"
        if not path.exists():
            return
        try:
            with np.load(path, allow_pickle=False) as state:
                self._load(state)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise BadInput(
                f"history {directory} can't be read: {error}", hint="restore it from a backup, or remove the directory"
            ) from error

    def _load(self, state: Mapping[str, Any]) -> None:
        if int(state["version"]) != VERSION:
            raise ValueError(f"it is of version {int(state['version'])}, expected {VERSION}")
        self.since, self.until = int(state["since"]), int(state["until"])
        for name, columns in self.columns.items():
            values = np.full((state[f"{name}.time"].size, len(columns)), np.nan)
            then = {str(column): k for k, column in enumerate(state[f"{name}.columns"])}
            for k, column in enumerate(columns):  # the catalogue may have changed since
                if column.name in then:
                    values[:, k] = state[f"{name}.values"][:, then[column.name]]
            units = [str(unit) for unit in state[f"{name}.units"]]
            self._kept[name] = Kept(units, state[f"{name}.time"].astype(np.int64), values)
        for node, (booted, start, until) in zip(state["spells.node"], state["spells.times"], strict=True):
            self._spells.setdefault(str(node), []).append(Spell(str(node), float(booted), float(start), float(until)))

    # ---- writing ----

    def append(
        self,
        hours: Mapping[str, Summaries],
        times: Sequence[int],
        nodes: Sequence[str],
        events: Iterable[HardwareEvent],
    ) -> None:
        """Take in the hours that end at `times` (unix seconds, ascending, after `until`): summaries by signal, and events.

        Raises BadInput when it can't be written.
        """
        known = set(nodes)
        wanted = {"nodes": thin(self.columns["nodes"], nodes, times,
                                node_values(self.columns["nodes"], hours, nodes, times), self._kept["nodes"])}  # fmt: skip
        for part in PARTS:
            columns = self.columns[part.value]
            units, values = part_values(columns, hours, times)
            ours = [k for k, unit in enumerate(units) if unit.split("/", 1)[0] in known]
            wanted[part.value] = thin(
                columns, [units[k] for k in ours], times, values[:, ours], self._kept[part.value], heartbeat=None
            )
        for node, told in boots(hours.get(UPTIME), hours.get(UP), times).items():
            for at, booted in told if node in known else ():
                spells = self._spells.get(node, [])
                self._spells[node] = continued(spells, node, booted, float(at), tolerance=BOOT_TOLERANCE)
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, rows in wanted.items():
                self._write_rows(name, rows)
            self._write_events(events, times[-1])
            if wanted["nodes"].times.size:
                self.since = self.since or int(wanted["nodes"].times[0]) - HOUR
            self.until = times[-1]
            self._save()
        except (OSError, PolarsError) as error:
            raise BadInput(
                f"history {self.directory} can't be written: {error}", hint="check state_dir in the settings"
            ) from error

    def _write_rows(self, name: str, rows: Rows) -> None:
        days = np.array([str(day) for day in rows.times.astype("datetime64[s]").astype("datetime64[D]")])
        for day in dict.fromkeys(days.tolist()):
            of_day = np.flatnonzero(days == day)
            values = {c.name: rows.values[of_day, k] for k, c in enumerate(self.columns[name])}
            frame = pl.DataFrame(
                {"unit": [rows.units[k] for k in of_day], "time": rows.times[of_day] * 1_000_000} | values
            ).with_columns(pl.col("time").cast(TIME), pl.col(list(values)).fill_nan(None))
            path = self.directory / f"{name}-{day}.parquet"
            if path.exists():
                earlier = read_parquet(path).filter(pl.col("time") <= moment(self.until))
                frame = pl.concat([earlier, frame], how="diagonal_relaxed")
            write_atomically(path, _parquet(frame))

    def _write_events(self, events: Iterable[HardwareEvent], until: int) -> None:
        """Events up to `until` that are not there yet; what two logs told of the same moment stays one."""
        by_day: dict[str, list[HardwareEvent]] = {}
        for event in events:
            if event.time.timestamp() <= until:
                by_day.setdefault(event.time.strftime("%Y-%m-%d"), []).append(event)
        for day, told in by_day.items():
            path = self.directory / f"events-{day}.parquet"
            stored = _events(read_parquet(path)) if path.exists() else []
            now = set(told)
            gone = [event for event in stored if event not in now]  # another log's record stands for it by now
            new = [
                event for event in dict.fromkeys(told)
                if event not in stored and not any(_is_same(event, other) for other in gone)
            ]  # fmt: skip
            if new:
                rows = [[event.model_dump(mode="json")[name] for name in _EVENT] for event in (*stored, *new)]
                write_atomically(
                    path, _parquet(pl.DataFrame(rows, schema=list(_EVENT), orient="row").sort("time", "node"))
                )

    def _save(self) -> None:
        told = [spell for spells in self._spells.values() for spell in spells]
        state: dict[str, Any] = {
            "version": VERSION,
            "since": self.since,
            "until": self.until,
            "spells.node": np.array([spell.node for spell in told], dtype=np.str_),
            "spells.times": np.array([(s.booted, s.start, s.until) for s in told]).reshape(-1, 3),
        }
        for name, kept in self._kept.items():
            state[f"{name}.units"] = np.array(kept.units, dtype=np.str_)
            state[f"{name}.columns"] = np.array([column.name for column in self.columns[name]], dtype=np.str_)
            state[f"{name}.time"], state[f"{name}.values"] = kept.time, kept.values
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, **state)
        write_atomically(self.directory / "state.npz", out.getvalue())

    # ---- reading ----

    def read(self) -> History:
        """All of it, as of the state that was read last. Raises BadInput."""
        end = moment(self.until)
        try:
            return History(
                since=self.since,
                until=self.until,
                rows=self._rows("nodes"),
                parts={part.value: self._rows(part.value) for part in PARTS},
                events=tuple(
                    event
                    for path in sorted(self.directory.glob("events-*.parquet"))
                    for event in _events(read_parquet(path))
                    if event.time <= end
                ),
                spells=tuple(spell for spells in self._spells.values() for spell in spells),
            )
        except (OSError, PolarsError, ValueError) as error:
            raise BadInput(
                f"history {self.directory} can't be read: {error}", hint="restore it from a backup, or remove the file"
            ) from error

    def _rows(self, name: str) -> pl.DataFrame:
        columns = [column.name for column in self.columns[name]]
        schema = {"unit": pl.String, "time": TIME} | dict.fromkeys(columns, pl.Float64)
        nothing = pl.DataFrame(schema=schema)
        found = [read_parquet(path) for path in sorted(self.directory.glob(f"{name}-*.parquet"))]
        frame = pl.concat([nothing, *found], how="diagonal_relaxed")
        return frame.select("unit", "time", *columns).filter(pl.col("time") <= moment(self.until))


def _is_same(one: HardwareEvent, other: HardwareEvent) -> bool:
    near = abs((one.time - other.time).total_seconds()) <= SAME_EVENT_SECONDS
    alike = ("node", "kind", "component", "severity", "part", "asserted")
    return near and all(getattr(one, name) == getattr(other, name) for name in alike)


def _events(frame: pl.DataFrame) -> list[HardwareEvent]:
    return [
        HardwareEvent.model_validate(row | {"time": datetime.fromisoformat(row["time"])}) for row in frame.to_dicts()
    ]


def _parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()
