"""Summaries on disk: a day in stretches of five minutes, two weeks in hours, in two memory-mapped rings. What a pass costs does
not depend on how much they hold.

    DIRECTORY/parts.jsonl   one line a column, in order: [signal, node, part]
    DIRECTORY/fine.f8       312 stretches of 5 minutes × 5 statistics × columns, float64
    DIRECTORY/coarse.f8     340 hours, alike
    DIRECTORY/state.json    for each signal the newest stretch it was read up to

A row is one stretch: written whole, in one place, and wiped when its turn comes again. Of a gap that was read in hours, the
stretches hold `last` alone: nobody reads more of them. The state is replaced after the rows are
on disk, so that a crash in between reads the same stretches once more. One process writes; a second is refused.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput
from models.risk.signal import STATISTICS, Floats, Signal, SignalHistory, Summaries
from tools.atomic_file import replacing, write_atomically

FINE_SECONDS, COARSE_SECONDS = 300, 3600
FINE_SLOTS, COARSE_SLOTS = 312, 340
"""26 hours and a little over 14 days."""
FIRST_COLUMNS = 512
VERSION = 1
ALL = slice(0, len(STATISTICS))
_GAP = 4096
"""columns between two parts of one signal that are read over; nodes that came later stand far apart"""

Columns = NDArray[np.int64]


@dataclass(kw_only=True)
class _Level:
    """One ring: rows by time, columns by part."""

    path: Path
    seconds: int
    slots: int
    columns: int
    cells: np.memmap[tuple[int, ...], np.dtype[np.float64]] = field(init=False)
    _file: int | None = field(init=False, default=None)
    """its descriptor"""
    ends: NDArray[np.int64] = field(init=False)
    """the end of the stretch that each row holds (unix seconds), 0: none"""
    wiped: set[int] = field(init=False, default_factory=set[int])
    """rows that held nothing before what was written since the last `flush`"""

    def __post_init__(self) -> None:
        new = not self.path.exists() or self.path.stat().st_size == 0
        self._map()
        # A new file holds nothing yet; to read that out of a hole, a page here and there, took most of a new ring's first pass.
        self.ends = np.zeros(self.slots, np.int64) if new else self._written_ends()

    def _written_ends(self) -> NDArray[np.int64]:
        assert self._file is not None
        lines = ((row * (len(STATISTICS) + 1) + len(STATISTICS)) * self.columns for row in range(self.slots))
        ends = b"".join(os.pread(self._file, 8, 8 * line) for line in lines)
        return np.frombuffer(ends).astype(np.int64)

    def _map(self) -> None:
        # A last line of each row holds the end of its stretch: what belongs together is written together.
        shape = (self.slots, len(STATISTICS) + 1, self.columns)
        if not self.path.exists():
            with self.path.open("wb") as file:
                file.truncate(int(np.prod(shape)) * 8)  # sparse: takes room only where something was written
        self.cells = np.memmap(self.path, dtype=np.float64, mode="r+", shape=shape)
        self.close()
        self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Nothing can be read by `read` from here on."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def read(self, row: int, columns: Columns, *, statistics: slice = ALL) -> Floats:
        """statistics × columns (ascending) of a row. Read, not mapped: the kernel may map two megabytes for each number that is
        looked at, and a look at 1,000 nodes with 66 signals held 2 GB of them for a moment."""
        assert self._file is not None
        lines = range(*statistics.indices(len(STATISTICS)))
        values: Floats = np.empty((len(lines), columns.size))
        first = 0
        for run in np.split(columns, np.flatnonzero(np.diff(columns) > _GAP) + 1) if columns.size else ():
            begin, count = int(run[0]), int(run[-1]) + 1 - int(run[0])
            for k, line in enumerate(lines):
                at = 8 * ((row * (len(STATISTICS) + 1) + line) * self.columns + begin)
                values[k, first : first + run.size] = np.frombuffer(os.pread(self._file, 8 * count, at))[run - begin]
            first += run.size
        return values

    def write(self, row: int, begin: int, values: Floats) -> None:
        """statistics × neighbouring columns of a row, from `begin`."""
        for k, one in enumerate(values):
            if row not in self.wiped or not np.isnan(one).all():
                self._write(row, k, begin, one)

    def _write(self, row: int, line: int, begin: int, values: Floats) -> None:
        """Neighbouring numbers of a row, from a line's column on. Written, not mapped: each page that is written first through a
        mapping costs a fault, and a day of 1,000 nodes is a quarter of a million pages."""
        assert self._file is not None
        told, at = values.tobytes(), 8 * ((row * (len(STATISTICS) + 1) + line) * self.columns + begin)
        if os.pwrite(self._file, told, at) != len(told):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def _begin(self, row: int, end: int, values: Floats) -> None:
        """A row that holds this: statistics × all columns."""
        self._write(row, 0, 0, values)
        self._write(row, len(STATISTICS), 0, np.array([end], dtype=np.float64))

    def grow(self, columns: int) -> None:
        """Make room for more parts, row by row. The old file stays valid until the new one is complete."""
        with replacing(self.path) as new:
            wider = _Level(path=new, seconds=self.seconds, slots=self.slots, columns=columns)
            every = np.arange(self.columns)
            for row in map(int, np.flatnonzero(self.ends)):
                values: Floats = np.full((len(STATISTICS), columns), np.nan)
                values[:, : self.columns] = self.read(row, every)
                wider._begin(row, int(self.ends[row]), values)
            wider.cells.flush()
            wider.close()
        self.columns = columns
        self._map()

    def let_go(self) -> None:
        """Give the pages back that were read or written: the file has them, and they are read again when they are asked for. At
        1,000 nodes with 66 signals they are 0.9 GB, of which a look needs a few."""
        whole = cast("mmap.mmap", self.cells._mmap)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        whole.madvise(mmap.MADV_DONTNEED)

    def row(self, end: int) -> int:
        """The row of a stretch, wiped first when it still holds an older one."""
        row = end // self.seconds % self.slots
        if self.ends[row] != end:
            self._begin(row, end, np.full((len(STATISTICS), self.columns), np.nan))
            self.ends[row] = end
            self.wiped.add(row)
        return row

    def find(self, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(rows, ends) of the stretches from `first` to `last` that it can hold; row -1 where it holds nothing."""
        ends = np.arange(first, last + 1, self.seconds, dtype=np.int64)
        rows = ends // self.seconds % self.slots
        return np.where(self.ends[rows] == ends, rows, -1), ends


class SummaryRing:
    """The summaries of every part of every node, on disk."""

    def __init__(self, directory: Path) -> None:
        """Opens or makes it. Raises BadInput when the files are damaged, of another version, or in another process's hands."""
        self.directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = (directory / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise BadInput(f"ring {directory} is in use by another lifeboat", hint="one agent keeps it") from None
        except OSError as error:
            raise BadInput(
                f"ring {directory}: {error.strerror or error}", hint="check state_dir in the settings"
            ) from error
        try:
            self._open()
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            self._lock.close()
            raise BadInput(
                f"ring {directory} can't be read: {error}", hint="remove the directory; what it held is read again"
            ) from error

    def _open(self) -> None:
        state = {"version": VERSION, "columns": FIRST_COLUMNS, "newest": {}, "older": {}}
        path = self.directory / "state.json"
        if path.exists():
            state = json.loads(path.read_text(encoding="utf-8"))
        if state["version"] != VERSION:
            raise ValueError(f"it is of version {state['version']}, expected {VERSION}")
        self.newest = {str(k): int(v) for k, v in cast("dict[str, int]", state["newest"]).items()}
        self.older = {str(k): (int(v[0]), int(v[1])) for k, v in cast("dict[str, list[int]]", state["older"]).items()}
        """by signal: hours from … to … that were never read, to be filled bit by bit"""
        columns = int(cast("int", state["columns"]))
        self._parts: dict[tuple[str, str, str], int] = {}
        self._by_signal: dict[str, list[tuple[str, str]]] = {}
        self._columns_of: dict[str, list[int]] = {}
        table = self.directory / "parts.jsonl"
        lines = table.read_text(encoding="utf-8").split("\n") if table.exists() else []
        if lines and lines[-1]:  # cut off while it was written: nothing was stored in that column yet
            write_atomically(table, "\n".join(lines[:-1]) + ("\n" if lines[:-1] else ""))
        for line in lines[:-1]:
            signal, node, part = json.loads(line)
            self._remember(signal, node, part)
        self.fine, self.coarse = (self._level(name, columns) for name in ("fine", "coarse"))
        while self.columns < len(self._parts):
            self._grow()

    def _level(self, name: str, columns: int) -> _Level:
        seconds, slots = (FINE_SECONDS, FINE_SLOTS) if name == "fine" else (COARSE_SECONDS, COARSE_SLOTS)
        path = self.directory / f"{name}.f8"
        if path.exists():
            size = slots * (len(STATISTICS) + 1) * 8
            found, rest = divmod(path.stat().st_size, size)
            if rest or found < columns:
                raise ValueError(f"{path.name} is cut off")
            columns = found  # it grew, and the state was not written any more
        return _Level(path=path, seconds=seconds, slots=slots, columns=columns)

    @property
    def columns(self) -> int:
        return min(self.fine.columns, self.coarse.columns)

    def reserve(self, columns: int) -> None:
        """Room for so many parts in all: a new ring that doubles again and again copies what it just wrote. Raises
        BadInput, as all that writes does, where there is no room on the disk."""
        with self._writing():
            for level in (self.fine, self.coarse):
                if level.columns < columns:
                    level.grow(columns)

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise BadInput(
                f"ring {self.directory} can't be written: {error.strerror or error}",
                hint="make room, or give lifeboat the right to write in state_dir; what is missing is read again then",
            ) from error

    def _grow(self) -> None:
        for level in (self.fine, self.coarse):
            if level.columns < 2 * self.columns or level.columns < len(self._parts):
                level.grow(2 * level.columns)

    def _remember(self, signal: str, node: str, part: str) -> int:
        column = self._parts[signal, node, part] = len(self._parts)
        self._by_signal.setdefault(signal, []).append((node, part))
        self._columns_of.setdefault(signal, []).append(column)
        return column

    # ---- writing ----

    def put(self, found: Summaries, *, hourly: bool = False) -> None:
        """Store summaries of one signal, of five minutes or of hours. `flush` makes them lasting."""
        with self._writing():
            self._put(self.coarse if hourly else self.fine, found)

    def _put(self, level: _Level, found: Summaries) -> None:
        columns = self._columns(found)
        # The parts of one signal mostly lie side by side; a slice is written several times as fast.
        whole = (
            columns.size
            and int(columns[-1]) - int(columns[0]) + 1 == columns.size
            and bool(np.all(np.diff(columns) == 1))
        )
        for k, end in enumerate(found.times.astype(np.int64)):
            row = level.row(int(end))
            if whole:
                level.write(row, int(columns[0]), found.values[:, :, k])
            else:
                level.cells[row, : len(STATISTICS)][:, columns] = found.values[:, :, k]

    def _columns(self, found: Summaries) -> Columns:
        name = found.signal.name
        if self._by_signal.get(name) == list(found.parts):
            return np.array(self._columns_of[name], dtype=np.int64)
        new = [pair for pair in found.parts if (name, *pair) not in self._parts]
        if new:
            # All of them in one go: a new ring of 10,000 nodes has half a million, and most of its first pass went here.
            # In JSON text every quotation mark within a string is escaped, so what parts two entries stands in no name.
            lines = json.dumps([(name, *pair) for pair in new])[1:-1].replace('"], ["', '"]\n["')
            with (self.directory / "parts.jsonl").open("a", encoding="utf-8") as table:
                table.write(lines + "\n")
                table.flush()
                os.fsync(table.fileno())
            begin = len(self._parts)
            self._parts.update(zip(((name, *pair) for pair in new), range(begin, begin + len(new)), strict=True))
            self._by_signal.setdefault(name, []).extend(new)
            self._columns_of.setdefault(name, []).extend(range(begin, len(self._parts)))
            while self.columns < len(self._parts):
                self._grow()
        return np.array([self._parts[name, *pair] for pair in found.parts], dtype=np.int64)

    def fold(self, signal: Signal, end: int) -> None:
        """Make the hour that ends at `end` out of its twelve stretches."""
        columns = np.array(self._columns_of.get(signal.name, []), dtype=np.int64)
        rows, _ = self.fine.find(end - COARSE_SECONDS + FINE_SECONDS, end)
        rows = rows[rows >= 0]
        if not columns.size or not rows.size:
            return
        with self._writing():
            self.coarse.cells[self.coarse.row(end)][: len(STATISTICS), columns] = _merged(
                np.stack([self.fine.read(int(row), columns) for row in rows])
            )

    def flush(self) -> None:
        """Make what was put lasting: rows first, then the state that names them."""
        state = {"version": VERSION, "columns": self.columns, "newest": self.newest, "older": self.older}
        with self._writing():
            for level in (self.fine, self.coarse):
                level.cells.flush()
                level.wiped.clear()
            self.let_go()
            write_atomically(self.directory / "state.json", json.dumps(state))

    def let_go(self) -> None:
        """Give back the memory that its files take; they are read again where they are asked for."""
        for level in (self.fine, self.coarse):
            level.let_go()

    def close(self) -> None:
        """Let go of the lock; what was not flushed may be lost."""
        self.fine.close()
        self.coarse.close()
        self._lock.close()

    # ---- reading ----

    def parts(self, signal: Signal) -> list[tuple[str, str]]:
        """(node, part) of every part that ever reported the signal, in the order of what `hours` gives."""
        return list(self._by_signal.get(signal.name, ()))

    def histories(self, signal: Signal, *, first: int, last: int, statistic: str = "last") -> list[SignalHistory]:
        """What the stretches from `first` to `last` (ends, unix seconds) hold, five minutes apart, at most 26 hours."""
        first = max(-(-first // FINE_SECONDS) * FINE_SECONDS, last - FINE_SECONDS * (FINE_SLOTS - 1))
        rows, ends = self.fine.find(first, last)
        columns = np.array(self._columns_of.get(signal.name, []), dtype=np.int64)
        values: Floats = np.full((ends.size, columns.size), np.nan)
        place = STATISTICS.index(statistic)
        for k in np.flatnonzero(rows >= 0):
            values[k] = self.fine.read(int(rows[k]), columns, statistics=slice(place, place + 1))[0]
        times = ends.astype(np.float64)
        times.flags.writeable = False  # so that all histories have the very same ones, not a view each
        return [
            SignalHistory(signal, node, part, times, np.ascontiguousarray(values[:, k]))
            for k, (node, part) in enumerate(self.parts(signal))
            if np.isfinite(values[:, k]).any()
        ]

    def hours(self, signal: Signal, *, first: int, last: int) -> Summaries:
        """The hours that end at `first` … `last` (unix seconds) of every part; NaN where nothing is known."""
        rows, ends = self.coarse.find(first, last)
        columns = np.array(self._columns_of.get(signal.name, []), dtype=np.int64)
        values: Floats = np.full((len(STATISTICS), columns.size, ends.size), np.nan)
        for k in np.flatnonzero(rows >= 0):
            values[:, :, k] = self.coarse.read(int(rows[k]), columns)
        return Summaries(signal, ends.astype(np.float64), self.parts(signal), values)


def _merged(stretches: Floats) -> Floats:
    """Summaries of consecutive stretches (stretch × STATISTICS × parts) as those of the whole."""
    last, low, high, mean, count = (stretches[:, k] for k in range(len(STATISTICS)))
    known = np.where(np.isfinite(mean), np.nan_to_num(count), 0.0)
    total = known.sum(axis=0)
    newest: Floats = np.full(total.shape, np.nan)
    for one in last:
        newest = np.where(np.isfinite(one), one, newest)
    with np.errstate(invalid="ignore", divide="ignore"):
        average = np.nansum(np.nan_to_num(mean) * known, axis=0) / np.where(total > 0, total, np.nan)
    return np.stack((newest, np.fmin.reduce(low), np.fmax.reduce(high), average, np.where(total > 0, total, np.nan)))
