"""What a log leaves open: lines nobody understands, times that can't be, a source that fell silent. Unknown is not healthy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tools.logs.reader import LineReader

SILENT = timedelta(hours=6)
"""A log that had a line at least every SILENT / 20 on average and has had none for this long says nothing."""


OLD = timedelta(days=7)
"""A log whose newest line is older says nothing of now, however seldom it speaks."""


@dataclass
class Counts:
    """What became of the lines read so far."""

    lines: int = 0
    events: int = 0
    unknown: int = 0
    """that no pattern names"""
    unreadable: int = 0
    """that look like an event but have no time, host and tag"""
    foreign: int = 0
    """that look like an event but are of another host or program"""
    skipped_bytes: int = 0
    """at the start of files too long to read in full"""
    undated: int = 0
    """of `unreadable`: that have a message of the kernel's, but no time"""


@dataclass
class LineSpan:
    """From when until when a log speaks, and how often."""

    first: datetime | None = None
    last: datetime | None = None
    lines: int = 0
    ahead: int = 0
    """lines dated in the future"""

    def add(self, at: datetime, lines: int = 1) -> None:
        self.first = at if self.first is None or at < self.first else self.first
        self.last = at if self.last is None or at > self.last else self.last
        self.lines += lines


def log_doubts(counts: Counts, reader: LineReader, span: LineSpan, now: datetime) -> list[str]:
    """What a log did not tell clearly, one line each."""
    doubts = [
        f"{number} line{'s' if number > 1 else ''} of {program} not understood"
        for program, number in sorted(reader.strange.items())
        if number
    ]
    if span.ahead:
        doubts.append(
            f"{span.ahead} line{'s' if span.ahead > 1 else ''} dated in the future: a clock or a time zone is wrong"
        )
    if counts.undated:
        doubts.append(f"{counts.undated} lines of a kernel without a date: when they were written is unknown")
    elif counts.unreadable:
        doubts.append(
            f"{counts.unreadable} lines that may be hardware events have no time, host and program that can be read"
        )
    if counts.lines and span.last is None:
        doubts.append(f"none of its {counts.lines} lines has a time that can be read")
    if counts.skipped_bytes:
        doubts.append(f"its first {counts.skipped_bytes >> 20} MiB were not read")
    if span.last is not None and now - span.last > OLD:
        doubts.append(f"no line for {(now - span.last).days} days, since {span.last:%Y-%m-%d}: it says nothing of now")
    elif span.first is not None and span.last is not None and span.lines > 1:
        usual = (span.last - span.first) / (span.lines - 1)
        quiet = now - span.last
        if quiet > SILENT and quiet > 20 * usual:
            doubts.append(
                f"no line for {quiet.total_seconds() / 3600:.0f} h, where one came every {usual.total_seconds() / 60:.0f} min"
            )
    return doubts
