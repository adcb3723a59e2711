"""Hardware events out of collected log files, as rsyslog lays them out: RFC 3339 time, host, tag, message.

Files are read from where the last look ended, also after they were renamed; what was truncated is read again. Events
are recognised by what they say and when, so that a rotation that copies gives none twice.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import ClassVar

from models.errors import HardwareLogUnavailable
from models.risk.signal import HardwareEvent
from tools.logs.doubts import Counts, LineSpan, log_doubts
from tools.logs.event_store import EventStore
from tools.logs.lines import LONGEST_LINE, Reference, is_same_host, split
from tools.logs.patterns import Match, lines_with_hints
from tools.logs.reader import TAGS, LineReader, understand
from tools.logs.templates import Templates

FIRST_READ_BYTES = 64 << 20
"""At the first look only so much of a file's end is read, and what was left out is counted. What turns up later is new."""
_CHUNK = 1 << 20
_CHECKED = 256
"""Bytes before the place reached whose hash says that the file is still the same one."""
_KEPT = timedelta(days=7)
_NAMES = re.compile(r"(?:.*\.log|syslog|messages|kern|bmc|smartd)(?:[.-]\d+)?(?:\.gz)?")
_AHEAD = timedelta(minutes=5)


@dataclass
class _Place:
    """How far one file was read."""

    offset: int
    check: bytes
    """SHA-256 over the `_CHECKED` bytes before `offset`"""


class LogFiles:
    """A `HardwareLog` over files and directories that hold one node's collected logs. Safe to use from several threads."""

    title: ClassVar[str] = "log files"

    def __init__(
        self, node: str, paths: Sequence[Path], *, other_nodes: Iterable[str] = (), state_file: Path | None = None,
        at: datetime | None = None, zone: tzinfo | None = None,
    ) -> None:  # fmt: skip
        """`other_nodes`: lines of these hosts are left aside, for files that several nodes write to. `state_file`: what was read
        and how far is kept there, so that a restart goes on from it. `at` is when the logs were gathered, None: now; `zone` that
        of times that name none, None: this machine's."""
        self._node = node
        self._paths = tuple(paths)
        self._others = tuple(name for name in other_nodes if not is_same_host(name, node))
        short = re.escape(node.split(".")[0].encode())
        self._begins = re.compile(
            rb"(?im)^(?:<\d+>(?:1 )?)?(?:\d{4}-\S+|[a-z]{3} +\d+ (?:\d{4} )?\S+) %s(?:\.[\w.-]*)? " % short
        )
        self._speaks = False
        """the node itself was named as the host of some line: then other hosts' lines are none of its own"""
        self._at = at
        self._zone = zone
        self._reader = LineReader()
        self._spans = LineSpan()
        self._events = EventStore(node, state_file)
        self._places = {key: _Place(offset, check) for key, (offset, check) in self._events.places.items()}
        self._first_look = not self._places
        self._lock = threading.Lock()
        self.counts = Counts()
        self.templates = Templates(lambda tag, message: understand(tag, message) is not None)

    def events(self, *, since: datetime) -> list[HardwareEvent]:
        """Events at or after `since`, oldest first.

        Raises HardwareLogUnavailable when one of the configured paths is missing or can't be read.
        """
        with self._lock:
            for path in self._files(since):
                self._read(path)
                self._add(self._reader.flush())
            self._first_look = False
            self._events.forget(min(since, datetime.now(UTC) - _KEPT))
            self._events.save({key: (place.offset, place.check) for key, place in self._places.items()})
            return list(dict.fromkeys(self._reader.named(event) for event in self._events.since(since)))

    def listen(self, heard: Callable[[str, str, datetime], None]) -> None:
        """Have `heard` told of every message (program, text, time) of hardware's programs that is read from now on."""
        self._reader.heard = heard

    def doubts(self) -> list[str]:
        """What could not be made sense of so far, one line each: what nobody understood is not healthy."""
        with self._lock:
            doubts = log_doubts(self.counts, self._reader, self._spans, self._reference.now)
            return [*doubts, *filter(None, [self._events.not_noted])]

    @property
    def newest(self) -> datetime | None:
        """The time of the newest line, whatever it says; None when none has one."""
        return self._spans.last

    @property
    def _reference(self) -> Reference:
        now = self._at or datetime.now(UTC)
        return Reference(now, self._zone or now.astimezone().tzinfo or UTC)

    def _files(self, since: datetime) -> list[Path]:
        """The files to look into, oldest first."""
        found: list[tuple[float, Path]] = []
        for path in self._paths:
            try:
                if not path.is_dir():
                    found.append((path.stat().st_mtime, path))
                    continue
                for file in path.iterdir():
                    with suppress(FileNotFoundError):  # rotated away just now
                        written = file.stat().st_mtime
                        if _NAMES.fullmatch(file.name) and file.is_file() and written >= since.timestamp():
                            found.append((written, file))
            except OSError as error:
                raise HardwareLogUnavailable(
                    f"hardware log {path} of node {self._node!r}: {error.strerror or error}",
                    hint="fix hardware_logs in the settings, or the log collection",
                ) from error
        return [file for _, file in sorted(found)]

    def _read(self, path: Path) -> None:
        try:
            if path.suffix == ".gz":
                self._read_packed(path)
                return
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                key = (status.st_dev, status.st_ino)
                place = self._places.get(key)
                if place is not None and not _is_same(file.fileno(), place, status.st_size):
                    place = _Place(0, b"")  # truncated and written anew
                if place is None:
                    place = _Place(max(0, status.st_size - FIRST_READ_BYTES) if self._first_look else 0, b"")
                    self.counts.skipped_bytes += place.offset
                start = place.offset
                file.seek(start)
                reached = start
                for block, end in _blocks(iter(lambda: file.read(_CHUNK), b""), start):
                    reached = end
                    self._take_block(block)
                self._places[key] = _Place(reached, check_of(file.fileno(), reached))
        except FileNotFoundError:
            return
        except OSError as error:
            raise HardwareLogUnavailable(
                f"hardware log {path} of node {self._node!r}: {error.strerror or error}",
                hint="fix its permissions, or the log collection",
            ) from error

    def _read_packed(self, path: Path) -> None:
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        if key in self._places:
            return
        self._places[key] = _Place(status.st_size, b"")
        try:
            with gzip.open(path, "rb") as file:
                for block, _ in _blocks(iter(lambda: file.read(_CHUNK), b""), 0):
                    self._take_block(block)
        except (EOFError, gzip.BadGzipFile):
            del self._places[key]  # still being written

    def strange_lines(self, most: int) -> list[str]:
        """Kinds of lines that no pattern names, the most frequent first."""
        return [template for template, _ in self.templates.top(most)]

    def _take_block(self, block: bytes) -> None:
        """Whole lines. Only those that may be events are looked at one by one."""
        lines = block.count(b"\n")
        candidates = lines_with_hints(block)
        self.templates.sample(block, lines)
        self.counts.lines += lines
        self.counts.unknown += lines - len(candidates)
        reference = self._reference
        for end in (block[: block.find(b"\n")], block[block.rfind(b"\n", 0, -1) + 1 :]):
            line = split(end[:LONGEST_LINE].decode("utf-8", "replace").rstrip("\n"), reference)
            if line is not None:
                self._spans.add(line.at, 0)
        self._spans.lines += lines
        if candidates and not self._speaks:
            self._speaks = self._begins.search(block) is not None
        for candidate in candidates:
            self._take(candidate[:LONGEST_LINE], reference)

    def _take(self, candidate: bytes, reference: Reference) -> None:
        line = split(candidate.decode("utf-8", "replace"), reference)
        if line is None:
            self.counts.unreadable += 1
            self.counts.undated += candidate.startswith(b"[") or candidate.lstrip(b"<0123456789>").startswith(b"[")
            return
        if line.tag not in TAGS or self._is_foreign(line.host):
            self.counts.foreign += 1
            return
        said = self._reader.read(line.tag, line.message, line.at)
        if not said:
            self.counts.unknown += 1
        if line.at > reference.now + _AHEAD:
            self._spans.ahead += 1
        self._add(said)

    def _is_foreign(self, host: str) -> bool:
        if any(is_same_host(host, other) for other in self._others):
            return True
        return self._speaks and host not in ("", "localhost") and not is_same_host(host, self._node)

    def _add(self, said: Iterable[tuple[datetime, Match]]) -> None:
        for at, match in said:
            self.counts.events += 1
            self._events.add(match.event(self._node, at))


def split_line(line: str) -> tuple[str, str] | None:
    """Tag and message of a line in one of the known layouts; None when it is laid out otherwise."""
    found = split(line, Reference(datetime.now(UTC)))
    return None if found is None else (found.tag, found.message)


def _blocks(chunks: Iterator[bytes], start: int) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines and where each ends. A last line without its end is left for the next look."""
    rest = b""
    at = start
    dropping = False
    for chunk in chunks:
        whole, newline, after = chunk.rpartition(b"\n")
        if not newline:
            rest += after
        else:
            block = rest + whole + newline
            rest = after
            at += len(block)
            if dropping:  # up to the end of the line that was too long
                block = block[block.index(b"\n") + 1 :]
                dropping = False
            yield block, at
        if len(rest) > _CHUNK:  # no line at all: binary rubbish, or a hole
            at += len(rest)
            rest = b""
            dropping = True


def check_of(descriptor: int, offset: int) -> bytes:
    """What tells that a file still holds the same bytes before `offset`: SHA-256 over the last of them."""
    begin = max(0, offset - _CHECKED)
    return hashlib.sha256(os.pread(descriptor, offset - begin, begin)).digest()


def _is_same(descriptor: int, place: _Place, size: int) -> bool:
    return size >= place.offset and check_of(descriptor, place.offset) == place.check
