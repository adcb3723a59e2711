"""A simulated live migration: pre-copy round by round, and the phases at which things go wrong.

The course is worked out when it begins, from the vm's memory, its dirty rate and the link's bandwidth, by playing
QEMU's rounds: each sends what the one before left dirty, until the rest fits into the allowed pause. A change on the way
(a longer pause allowed, the guest suspended, post-copy) is played from the running round on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from models.migration.convergence import JobProgress
from tools.ports.migration import MigrationOptions, MigrationStatistics

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


@dataclass(frozen=True, kw_only=True)
class Round:
    """One pass over dirtied memory, with this share of the guest's processor time taken from it."""

    start: float
    end: float
    bytes: float
    throttle: float = 0.0


@dataclass(kw_only=True)
class Migration:
    """One move from `source` to `target`, in seconds of the fleet's clock.

    Its course is known from the start, and is played anew from the running round on when something changes it.
    """

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
    post_copy: bool = False
    suspended_at: float | None = None
    hung_at: float | None = None
    """since when no byte gets through, and nobody notices"""
    ignores_abort: bool = False
    """it does not end when told to"""
    abort_asked_at: float | None = None
    """when one that does not end was told to"""
    max_downtime: float = 0.0
    """QEMU's limit now: of the last round, switching over not included"""

    def __post_init__(self) -> None:
        self.max_downtime = self.options.max_downtime_seconds
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

    def set_max_downtime(self, now: float, seconds: float) -> None:
        self.max_downtime = seconds
        self._play_on(now)

    def suspend(self, now: float) -> None:
        """The guest stands still at the source from now on."""
        if self.suspended_at is None:
            self.suspended_at = now
            self._play_on(now)

    def stall(self, now: float, *, ignores_abort: bool) -> None:
        """The link swallows everything from now on: neither a byte nor an error gets through."""
        self.hung_at, self.ignores_abort = now, ignores_abort
        self.switchover_at = self.handover_at = self.done_at = float("inf")

    def copies_memory(self, now: float) -> bool:
        return self.rounds[0].start <= now < self.switchover_at

    def switch_to_post_copy(self, now: float) -> None:
        """The guest goes over now and fetches the rest of its memory as it needs it."""
        left = self._left(now)
        self.post_copy = True
        self.switchover_at, self.handover_at = now, now + SWITCH_SECONDS
        self.done_at = self.handover_at + left / self.bytes_per_second + FINISH_SECONDS
        self.rounds = [
            *(each for each in self.rounds if each.end <= now),
            Round(start=now, end=self.done_at, bytes=left),
        ]

    def progress(self, now: float) -> JobProgress:
        elapsed, now = now - self.started, now if self.hung_at is None else min(now, self.hung_at)
        begun = [each for each in self.rounds if each.start <= now]
        last = begun[-2] if len(begun) > 1 else None
        sent = sum(each.bytes * min(1.0, (now - each.start) / max(each.end - each.start, 1e-9)) for each in begun)
        return JobProgress(
            elapsed_seconds=elapsed,
            bytes_total=self.memory_bytes + self.disk_bytes,
            bytes_processed=int(self._disk_sent(now) + sent),
            bytes_remaining=int(self._left(now)),
            dirty_bytes_per_second=self._dirtied(last) / (last.end - last.start) if last is not None else 0.0,
            bytes_per_second=self.bytes_per_second,
            iteration=len(begun),
            throttle=begun[-1].throttle if begun else 0.0,
            post_copy=self.post_copy,
        )

    def statistics(self) -> MigrationStatistics:
        stopped = self.switchover_at if self.suspended_at is None else min(self.suspended_at, self.switchover_at)
        return MigrationStatistics(
            total_seconds=self.done_at - self.started,
            downtime_seconds=self.handover_at - stopped,
            bytes_transferred=int(sum(each.bytes for each in self.rounds)),
            iterations=len(self.rounds),
        )

    def _left(self, now: float) -> float:
        begun = [each for each in self.rounds if each.start <= now]
        if not begun:
            return float(self.memory_bytes + self.disk_bytes) - self._disk_sent(now)
        last = begun[-1]
        return last.bytes * max(0.0, (last.end - now) / max(last.end - last.start, 1e-9))

    def _disk_sent(self, now: float) -> float:
        """Disks go first, at full speed."""
        return min(max(0.0, now - self.started - BEGIN_SECONDS) * self.bytes_per_second, float(self.disk_bytes))

    def _dirtied(self, during: Round) -> float:
        """What the guest wrote meanwhile, at most its memory."""
        running = during.end if self.suspended_at is None else min(during.end, self.suspended_at)
        written = self.dirty_bytes_per_second * (1 - during.throttle) * max(0.0, running - during.start)
        return min(written, float(self.memory_bytes))

    def _play_on(self, now: float) -> None:
        """What was begun stays; what follows is worked out anew."""
        if now < self.switchover_at and not self.post_copy and self.hung_at is None:
            self.rounds = [each for each in self.rounds if each.start <= now]
            self._play()

    def _play(self) -> None:
        self.switchover_at = self.handover_at = self.done_at = float("inf")
        if not self.rounds:
            copying = self.started + BEGIN_SECONDS + self.disk_bytes / self.bytes_per_second
            self._add(copying, float(self.memory_bytes), 0.0)
        while len(self.rounds) <= _MAX_ROUNDS:
            last = self.rounds[-1]
            left = self._dirtied(last)
            if left <= max(self.max_downtime * self.bytes_per_second, _PAGE_BYTES):
                self.switchover_at = last.end
                self.handover_at = last.end + left / self.bytes_per_second + SWITCH_SECONDS
                self.done_at = self.handover_at + FINISH_SECONDS
                return
            throttle = last.throttle
            if self.options.auto_converge and len(self.rounds) > 1 and left > 0.5 * last.bytes:
                throttle = min(0.99, throttle + 0.1 if throttle else 0.2)  # QEMU's own steps
            self._add(last.end, left, throttle)

    def _add(self, start: float, to_send: float, throttle: float) -> None:
        self.rounds.append(
            Round(start=start, end=start + to_send / self.bytes_per_second, bytes=to_send, throttle=throttle)
        )
