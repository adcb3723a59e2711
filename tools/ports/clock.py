"""The clock, so that time can be virtual."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The time now, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def uptime(self) -> str:
        """Now, by how long the host is up, and which of its starts that was: to be kept in the journal, and given to
        `seconds_since` by this process or a later one. Nobody can set it back."""
        ...

    def seconds_since(self, uptime: str) -> float | None:
        """Seconds since `uptime` was taken; None when that can't be told: the host has started since."""
        ...

    def sleep(self, seconds: float) -> None: ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Sleep until the event is set, but no longer than that; whether it is."""
        ...
