"""Refusals from outside, in the journal: those of one process up to a number, as who tries wildly must not fill it."""

from __future__ import annotations

import threading
from datetime import datetime

from tools.ports.journal import Journal, Record

MOST = 200


class RefusalLog:
    """Safe for several threads."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._count = 0

    def keep(self, record: Record, now: datetime) -> None:
        """Write one down, while there are few."""
        with self._lock:
            self._count += 1
            if self._count > MOST:
                return
        self._journal.append(record, now=now)
