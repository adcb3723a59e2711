"""A BMC's event log that was printed into a file: by ipmitool or FreeIPMI's ipmi-sel, with bars or commas."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import ClassVar

from models.errors import HardwareLogUnavailable
from models.risk.signal import HardwareEvent
from models.risk.witness import Witness
from tools.logs.sel.clock import date_records
from tools.logs.sel.events import SelRecord, is_routine, understand_record
from tools.logs.sel.records import SelLine, sel_lines

MOST_BYTES = 16 << 20
"""A BMC keeps some thousand records; what is longer is something else, and only its end is read."""


class SelFile:
    """A `HardwareLog` over one printed event log."""

    title: ClassVar[str] = "BMC"

    def __init__(self, node: str, path: Path, *, at: datetime | None = None, zone: tzinfo = UTC) -> None:
        """`at` is when it was printed, as far as anybody knows; None: now. `zone` is that of times that name none."""
        self._node = node
        self._path = path
        self._at = at
        self._zone = zone
        self._doubts: list[str] = []
        self.newest: datetime | None = None
        """of the records, as dated by the BMC"""

    def events(self, *, since: datetime) -> list[HardwareEvent]:
        """Events at or after `since`, oldest first. Raises HardwareLogUnavailable when the file can't be read."""
        try:
            with self._path.open("rb") as file:
                size = self._path.stat().st_size
                file.seek(max(0, size - MOST_BYTES))
                text = file.read(MOST_BYTES).decode("utf-8", "replace")
        except OSError as error:
            raise HardwareLogUnavailable(
                f"event log {self._path} of node {self._node!r}: {error.strerror or error}", hint="check the file"
            ) from error
        lines = list(sel_lines(text.splitlines(), self._zone))
        records = [line for line in lines if line is not None]
        stamps = [line.at for line in records if line.at is not None]
        self.newest = max(stamps, default=None)
        events, self._doubts = events_of_records(self._node, records, now=self._at or datetime.now(UTC))
        strange = len(lines) - len(records)
        if strange:
            self._doubts.append(f"{strange} of {len(lines)} lines are no records of ipmitool's or ipmi-sel's")
        return [event for event in events if event.time >= since]

    def doubts(self) -> list[str]:
        """What the last reading could not make sense of."""
        return list(self._doubts)


def events_of_records(
    node: str, records: Sequence[SelLine], *, now: datetime, times: Sequence[datetime] | None = None
) -> tuple[list[HardwareEvent], list[str]]:
    """The events in a log, oldest first, each once; and what is doubtful. `times`: when each was written; None: as dated."""
    doubts: list[str] = []
    if times is None:
        dated = date_records([line.at for line in records], now=now)
        times, doubts = dated.times, dated.doubts()
    events: dict[HardwareEvent, None] = {}
    strange: list[SelRecord | None] = []
    undirected = 0
    for line, at in zip(records, times, strict=True):
        match = understand_record(line.record) if line.record is not None else None
        if match is not None:
            events.setdefault(match.event(node, at, Witness.BMC_LOG))
            undirected += match.asserted and not line.directed
        elif line.record is None or not is_routine(line.record):
            strange.append(line.record)
    if strange:
        kinds = sorted({record.type or record.sensor for record in strange if record is not None} - {""})
        named = f" (of {', '.join(kinds[:3])})" if kinds else ""
        foreign = len(strange) == len(records) and not any(record and record.type for record in strange)
        why = (
            "; none names a sensor type as ipmitool does: is it another tool's, or in another language?"
            if foreign
            else ""
        )
        doubts.append(
            f"{len(strange)} record{'s' if len(strange) > 1 else ''} not understood{'' if foreign else named}{why}"
        )
    if undirected:
        doubts.append(
            f"{undirected} record{'s' if undirected > 1 else ''} of faults may have ended, and count as lasting: "
            "have ipmi-sel print the log with --output-event-state"
        )
    return sorted(events, key=lambda event: event.time), doubts
