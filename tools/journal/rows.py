"""From rows of a journal's table to entries, whichever database holds the table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from models.errors import JournalInvalid
from tools.journal.kinds import decode, decode_as
from tools.ports.journal import Entry, R, Record

COLUMNS = "seq, time, evacuation, attempt, sha256, kind, data"
Row = tuple[int, str, str | None, str | None, str, str, str]
"""one row's COLUMNS"""


def text_of(record: Record) -> str:
    """The record as its row holds it."""
    return json.dumps(record.data(), sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class RowReader:
    """Reads the rows of one journal. Raises JournalInvalid for a row that no lifeboat ever wrote."""

    journal: str
    """how messages name it"""

    def of(self, kinds: Iterable[type[R]], rows: Iterable[Row]) -> list[Entry[R]]:
        """As records of these kinds. Raises JournalInvalid for one that this version can't read."""
        by_name = {kind.KIND: kind for kind in kinds}
        return [self._entry(row, decode_as(by_name[row[5]], self._content(row), self._place(row))) for row in rows]

    def any(self, rows: Iterable[Row]) -> list[Entry[Record]]:
        """As whatever they are; what is not understood as UnknownRecord."""
        return [self._entry(row, decode(row[5], self._content(row))) for row in rows]

    def _content(self, row: Row) -> dict[str, Any]:
        try:
            content = json.loads(row[6])
        except (ValueError, RecursionError) as error:
            raise self._never_written(row, "its data is not JSON") from error
        if not isinstance(content, dict):
            raise self._never_written(row, "its data is not an object")
        return cast("dict[str, Any]", content)

    def _entry(self, row: Row, record: R) -> Entry[R]:
        seq, time, evacuation, attempt, sha256, _, _ = row
        try:
            at = datetime.fromisoformat(time)
        except ValueError as error:
            raise self._never_written(row, "its time is none") from error
        if at.tzinfo is None:
            raise self._never_written(row, "its time has no zone")
        return Entry(seq=seq, at=at, evacuation=evacuation, attempt=attempt, record=record, sha256=sha256)

    def _place(self, row: Row) -> str:
        return f"{self.journal}: record {row[0]}"

    def _never_written(self, row: Row, why: str) -> JournalInvalid:
        return JournalInvalid(f"{self._place(row)} was changed: {why}", hint="restore the journal from a backup")
