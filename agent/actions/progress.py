"""How far an attempt has come, for a person who watches."""

from __future__ import annotations

from dataclasses import dataclass

from models.plan import Action

STOPPING = "stopping"
"""phase: a guest that ran was asked to stop; in the phases after it, it does not run"""
FETCHING = "fetching the rest"
"""phase: a guest runs at its target, and its memory comes after it"""
VERIFYING = "verifying"
"""phase: it was moved, and is looked at"""
PAUSED = "copying, paused"
"""phase: a guest that does not run while its memory is copied"""


@dataclass(frozen=True)
class CopyState:
    """How the copy of a vm's memory is getting on."""

    remaining_bytes: int
    bytes_per_second: float
    dirty_bytes_per_second: float
    iteration: int
    """rounds over the memory so far"""
    expected_seconds: float | None
    """until its end, if it goes on like this; None when that can't be told"""
    ladder: str = ""
    """what the convergence ladder does about it; empty when nothing"""

    def __str__(self) -> str:
        left = f"{self.remaining_bytes / 1e6:.0f} MB left at {self.bytes_per_second / 1e6:.0f} MB/s"
        dirty = f", rewrites {self.dirty_bytes_per_second / 1e6:.0f} MB/s" if self.dirty_bytes_per_second else ""
        end = f", {self.expected_seconds:.0f} s to go" if self.expected_seconds is not None else ""
        return f"{left}{dirty}, round {self.iteration}{end}{f'; {self.ladder}' if self.ladder else ''}"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One step of an attempt, as a person watching wants it."""

    attempt: str
    action: Action
    phase: str
    """`checking`, `copying`, `stopping`, `verifying`, …"""
    fraction: float | None = None
    """0 to 1; None when it can't be told"""
    detail: str = ""
    copy: CopyState | None = None
    """the figures behind `detail` while memory is copied live"""
