"""Hardware events out of systemd's journal export format: what `journalctl -o export` and systemd-journal-remote write.

An entry is lines of FIELD=value, or FIELD, newline, a little-endian length of eight bytes and that many bytes of value; an empty
line ends it (https://systemd.io/JOURNAL_EXPORT_FORMATS/). Several hosts may share a file.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from models.errors import HardwareLogUnavailable
from models.risk.signal import HardwareEvent
from tools.logs.doubts import Counts, LineSpan, log_doubts
from tools.logs.event_store import EventStore
from tools.logs.files import FIRST_READ_BYTES, check_of
from tools.logs.lines import is_same_host
from tools.logs.patterns import Match
from tools.logs.reader import TAGS, LineReader

_WANTED = frozenset(
    {"__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP", "_HOSTNAME", "SYSLOG_IDENTIFIER", "_TRANSPORT", "MESSAGE"}
)
_LONGEST_VALUE = 64 << 20
"""A longer field is no field: the file is damaged there, and reading goes on after the next empty line."""
_KEPT_VALUE = 8192
_CHUNK = 1 << 20
_KEPT = timedelta(days=7)

Entry = dict[str, str]


class JournalExport:
    """A `HardwareLog` over files in the journal's export format. Safe to use from several threads."""

    title: ClassVar[str] = "journal export"

    def __init__(
        self, node: str, paths: Sequence[Path], *, state_file: Path | None = None, at: datetime | None = None
    ) -> None:
        """Files, or directories of `*.export`; entries of other hosts are left aside. `state_file` and `at` as for `LogFiles`."""
        self._node = node
        self._paths = tuple(paths)
        self._store = EventStore(node, state_file)
        self._first_look = not self._store.places
        self._lock = threading.Lock()
        self._at = at
        self._reader = LineReader()
        self._span = LineSpan()
        self.counts = Counts()

    def events(self, *, since: datetime) -> list[HardwareEvent]:
        """Events at or after `since`, oldest first. Raises HardwareLogUnavailable when a path is missing or can't be read."""
        with self._lock:
            for path in self._paths:
                try:
                    files = sorted(path.glob("*.export")) if path.is_dir() else [path]
                    for file in files:
                        self._read(file)
                        self._add(self._reader.flush())
                except OSError as error:
                    raise HardwareLogUnavailable(
                        f"journal export {path} of node {self._node!r}: {error.strerror or error}",
                        hint="fix hardware_logs in the settings, or the log collection",
                    ) from error
            self._first_look = False
            self._store.forget(min(since, datetime.now(UTC) - _KEPT))
            self._store.save(self._store.places)
            return list(dict.fromkeys(self._reader.named(event) for event in self._store.since(since)))

    def listen(self, heard: Callable[[str, str, datetime], None]) -> None:
        """Have `heard` told of every message (program, text, time) of hardware's programs that is read from now on."""
        self._reader.heard = heard

    def doubts(self) -> list[str]:
        """What could not be made sense of so far, one line each."""
        with self._lock:
            doubts = log_doubts(self.counts, self._reader, self._span, self._at or datetime.now(UTC))
            if self.counts.foreign and self.counts.foreign == self.counts.lines:
                doubts.append(f"all of its {self.counts.lines} entries are of other hosts")
            return [*doubts, *filter(None, [self._store.not_noted])]

    @property
    def newest(self) -> datetime | None:
        """The time of the newest entry of the node; None when there is none."""
        return self._span.last

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            status = path.stat()
            key = (status.st_dev, status.st_ino)
            offset, check = self._store.places.get(key, (0, b""))
            if offset > status.st_size or (offset and check_of(file.fileno(), offset) != check):
                offset = 0  # truncated and written anew
            if self._first_look and offset == 0 and status.st_size > FIRST_READ_BYTES:
                file.seek(status.st_size - FIRST_READ_BYTES)
                self.counts.skipped_bytes += file.tell()
                while file.readline(_CHUNK) not in (b"\n", b""):
                    pass
                offset = file.tell()
            file.seek(offset)
            reached = offset
            for entry, end in entries(iter(lambda: file.read(_CHUNK), b""), offset):
                reached = end
                self._take(entry)
            self._store.places[key] = (reached, check_of(file.fileno(), reached))

    def _take(self, entry: Entry) -> None:
        self.counts.lines += 1
        tag = entry.get("SYSLOG_IDENTIFIER", "kernel" if entry.get("_TRANSPORT") == "kernel" else "")
        if not is_same_host(entry.get("_HOSTNAME", self._node), self._node):
            self.counts.foreign += 1
            return
        # The kernel's own stamp, where there is one: the journal may have been read late.
        stamp = entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry.get("__REALTIME_TIMESTAMP", "")
        try:
            at = datetime.fromtimestamp(int(stamp) / 1e6, UTC)
        except (ValueError, OverflowError, OSError):
            self.counts.unreadable += 1
            return
        self._span.add(at)
        said = self._reader.read(tag, entry.get("MESSAGE", ""), at) if tag in TAGS else []
        if not said:
            self.counts.unknown += 1
        self._add(said)

    def _add(self, said: Iterable[tuple[datetime, Match]]) -> None:
        for at, match in said:
            self.counts.events += 1
            self._store.add(match.event(self._node, at))


def entries(chunks: Iterator[bytes], start: int) -> Iterator[tuple[Entry, int]]:
    """Whole entries and where each ends; what is still being written is left for the next look."""
    buffer = b""
    at = start
    for chunk in chunks:
        buffer += chunk
        begin = 0
        while True:
            found = _entry(buffer, begin)
            if found is None:
                break
            entry, end = found
            at += end - begin
            begin = end
            if entry is not None:
                yield entry, at
        buffer = buffer[begin:]  # once a chunk, not once an entry
        if len(buffer) > _LONGEST_VALUE + _CHUNK:  # rubbish without an end
            at += len(buffer)
            buffer = b""


def _entry(buffer: bytes, at: int) -> tuple[Entry | None, int] | None:
    """The entry at `at` and where it ends; None when it is not complete. An entry that is none comes as None with its end."""
    entry: Entry = {}
    while True:
        end = buffer.find(b"\n", at)
        if end < 0:
            return None
        if end == at:
            return (entry or None), end + 1
        name, equals, value = buffer[at:end].partition(b"=")
        field = name[:64].decode("ascii", "replace")
        if equals:
            if field in _WANTED:
                entry[field] = value[:_KEPT_VALUE].decode("utf-8", "replace")
            at = end + 1
            continue
        if len(buffer) < end + 9:
            return None
        (length,) = struct.unpack_from("<Q", buffer, end + 1)
        if length > _LONGEST_VALUE:
            # No such length: what looked like a field name was rubbish. Go on after the next empty line.
            gap = buffer.find(b"\n\n", at)
            return None if gap < 0 else (None, gap + 2)
        after = end + 9 + length
        if len(buffer) <= after:
            return None
        if field in _WANTED:
            entry[field] = buffer[end + 9 : end + 9 + min(length, _KEPT_VALUE)].decode("utf-8", "replace")
        at = after + 1
