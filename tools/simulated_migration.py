"""A simulated live migration: pre-copy round by round, and the phases at which things go wrong.

The course is worked out when it begins, from the vm's memory, its dirty rate and the link's bandwidth, by playing
QEMU's rounds: each sends what the one before left dirty, until the rest fits into the allowed pause.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tools.ports import JobProgress, MigrationOptions, MigrationStatistics

BEGIN_SECONDS = 0.2
"""libvirt's handshake before the first byte"""
FINISH_SECONDS = 0.1
"""from the destination's start until the source has let go"""
SWITCH_SECONDS = 0.05
"""pause beyond the last round: device state, and starting the guest there"""
_MAX_ROUNDS = 200
_PAGE_BYTES = 4096


class Phase(StrEnum):
    """Moments of a migration, in order, at which a test may have something happen."""

    BEGIN = "begin"
    """the destination was asked to make ready; nothing was sent"""
    COPYING = "copying"
    """half of the memory is sent; the guest runs at the source"""
    SWITCHOVER = "switchover"
    """the guest stands still at the source; the destination has not started it"""
    HANDED_OVER = "handed over"
    """the guest runs at the destination; the source still holds it, paused"""
    DONE = "done"
    """the source has let go; the caller has not heard of it yet"""


class End(StrEnum):
    DONE = "done"
    FAILED = "failed"
    """libvirt reports an error to the caller"""
    SOURCE_LOST = "source lost"
    """the source's libvirtd went away, and the job with it"""


@dataclass(frozen=True)
class Round:
    """One pass over dirtied memory."""

    start: float
    end: float
    bytes: float


@dataclass
class Migration:
    """One move from `source` to `target`, in seconds of the fleet's clock."""

    uuid: str
    source: str
    target: str
    options: MigrationOptions
    started: float
    memory_bytes: int
    disk_bytes: int
    dirty_bytes_per_second: float
    bytes_per_second: float
    rounds: list[Round] = field(default_factory=list[Round])
    switchover_at: float = float("inf")
    handover_at: float = float("inf")
    done_at: float = float("inf")
    passed: set[Phase] = field(default_factory=set[Phase])
    end: End | None = None
    error: str = ""
    abort_asked: bool = False
    post_copy: bool = False

    def __post_init__(self) -> None:
        self._play()

    def at(self, phase: Phase) -> float:
        """When the phase is reached; infinite when it never converges."""
        copying = self.started + BEGIN_SECONDS
        first_round = self.rounds[0].end if self.rounds else copying
        return {
            Phase.BEGIN: self.started,
            Phase.COPYING: (copying + first_round) / 2,
            Phase.SWITCHOVER: self.switchover_at,
            Phase.HANDED_OVER: self.handover_at,
            Phase.DONE: self.done_at,
        }[phase]

    def next_phase_at(self) -> float:
        """When the next phase is due; infinite when it never converges."""
        return min((self.at(phase) for phase in Phase if not self.has(phase)), default=float("inf"))

    def has(self, phase: Phase) -> bool:
        return phase in self.passed

    def switch_to_post_copy(self, now: float) -> None:
        """The guest goes over now and fetches the rest of its memory as it needs it."""
        self.post_copy = True
        self.switchover_at, self.handover_at = now, now + SWITCH_SECONDS
        self.done_at = self.handover_at + self.memory_bytes / self.bytes_per_second + FINISH_SECONDS

    def progress(self, now: float) -> JobProgress:
        done = [each for each in self.rounds if each.start <= now]
        sent = sum(each.bytes * min(1.0, (now - each.start) / max(each.end - each.start, 1e-9)) for each in done)
        total = self.memory_bytes + self.disk_bytes
        left = (
            done[-1].bytes * max(0.0, (done[-1].end - now) / max(done[-1].end - done[-1].start, 1e-9))
            if done
            else total
        )
        return JobProgress(
            elapsed_seconds=now - self.started,
            bytes_total=total,
            bytes_processed=int(sent),
            bytes_remaining=int(left),
            dirty_bytes_per_second=self.dirty_bytes_per_second,
            bytes_per_second=self.bytes_per_second,
            iteration=len(done),
        )

    def statistics(self) -> MigrationStatistics:
        return MigrationStatistics(
            total_seconds=self.done_at - self.started,
            downtime_seconds=self.handover_at - self.switchover_at,
            bytes_transferred=int(sum(each.bytes for each in self.rounds)),
            iterations=len(self.rounds),
        )

    def _play(self) -> None:
        now = self.started + BEGIN_SECONDS + self.disk_bytes / self.bytes_per_second
        to_send = float(self.memory_bytes)
        dirty = self.dirty_bytes_per_second
        allowed = max(self.options.max_downtime_seconds - SWITCH_SECONDS, 0.0) * self.bytes_per_second
        throttle = 0.0
        for number in range(_MAX_ROUNDS):
            seconds = to_send / self.bytes_per_second
            self.rounds.append(Round(now, now + seconds, to_send))
            now += seconds
            left = min(dirty * (1 - throttle) * seconds, float(self.memory_bytes))
            if left <= max(allowed, _PAGE_BYTES):
                self.switchover_at = now
                self.handover_at = now + left / self.bytes_per_second + SWITCH_SECONDS
                self.done_at = self.handover_at + FINISH_SECONDS
                return
            if self.options.auto_converge and number >= 1 and left > 0.5 * to_send:
                throttle = min(0.99, throttle + 0.1 if throttle else 0.2)  # QEMU's own steps
            to_send = left
