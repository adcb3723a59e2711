"""Does a running migration come to its end, and what is done when it does not? Pure: job statistics in, a decision out.

QEMU sends memory round by round and switches over once what is left fits the allowed pause. A move that gets nowhere
shows in what each round starts with: when that no longer falls, more of the same brings nothing. The thresholds for
"no longer falls" and the smoothing are those of KubeVirt's stall detector (4 %, α = 0.4); it looks at bytes left at any moment,
which go up and down within each round, and so needs a minute; the starts of rounds need two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from itertools import pairwise

from models.policy.ladder import Act, DowntimeTo, Rung, ThrottleIo, When
from models.policy.policy import MigrationPolicy

IMPROVED = 0.96
"""a round that starts with less than this share of the best before it is progress"""
SMOOTHING = 0.4
"""weight of the newest sample in the averages of bandwidth and dirty rate"""
ROUNDS_WITHOUT = 2
"""rounds that must have brought nothing: one may have met a burst"""


@dataclass(frozen=True)
class JobProgress:
    """One look at a running migration. Bytes are of memory and disk together."""

    elapsed_seconds: float
    bytes_total: int
    bytes_processed: int
    bytes_remaining: int
    dirty_bytes_per_second: float
    """as counted over the last round: pages written twice in it count once"""
    bytes_per_second: float
    iteration: int
    """rounds over dirtied memory so far, the running one included; 0 before memory is sent"""
    throttle: float = 0.0
    """share of its processor time that auto-converge takes from the guest"""
    post_copy: bool = False
    """the guest runs at the target already and fetches its memory"""


@dataclass(frozen=True)
class Rules:
    """What the policy lets a migration do, resolved for one vm. Times in seconds."""

    ladder: tuple[Rung, ...]
    max_downtime: float
    last_downtime: float
    """cap of the ladder's last downtime rung"""
    timeout: float
    stuck_after: float
    auto_converge: bool
    post_copy: bool
    suspend: bool

    @classmethod
    def of(cls, policy: MigrationPolicy, *, post_copy_stall: float = 0.0) -> Rules:
        """`post_copy_stall`: how long the guest waits for one page under post-copy; past the cap it is off."""
        cap = policy.max_downtime.total_seconds()
        return cls(
            ladder=policy.ladder,
            max_downtime=cap,
            last_downtime=max(cap, policy.last_downtime.total_seconds()),
            timeout=policy.timeout.total_seconds(),
            stuck_after=policy.stuck_after.total_seconds(),
            auto_converge=policy.auto_converge,
            post_copy=policy.post_copy and post_copy_stall <= cap,
            suspend=policy.suspend,
        )

    def allows(self, rung: Rung) -> bool:
        match rung.do:
            case Act.AUTO_CONVERGE:
                return self.auto_converge
            case Act.POST_COPY:
                return self.post_copy
            case Act.SUSPEND:
                return self.suspend
            case _:
                return True

    def downtime(self, position: int) -> float:
        """What the rung at `position` lets the pause become: only the last one may go past `max_downtime`."""
        rung = self.ladder[position].do
        assert isinstance(rung, DowntimeTo)
        last = max(i for i, each in enumerate(self.ladder) if isinstance(each.do, DowntimeTo))
        return min(rung.downtime.total_seconds(), self.last_downtime if position == last else self.max_downtime)


class LadderStep(StrEnum):
    """What the mover does next."""

    GO_ON = "go_on"
    RAISE_DOWNTIME = "raise_downtime"
    POST_COPY = "post_copy"
    SUSPEND = "suspend"
    ABORT = "abort"


@dataclass(frozen=True)
class LadderPosition:
    """Where on the ladder a move stands. It only ever goes up."""

    position: int = 0
    """rungs before this one are taken, or passed for good"""
    since: float = 0.0
    """when the last one was taken, seconds since the start"""
    downtime: float = 0.0
    """the pause allowed now, seconds"""
    post_copy: bool = False
    suspended: bool = False
    abort_asked: bool = False


@dataclass(frozen=True)
class Start:
    """How a migration is begun: what libvirt takes only then, and the first pause allowed."""

    reached: LadderPosition
    auto_converge: bool
    throttle_io: int | None
    """bytes per second for each disk; None: as they are"""


@dataclass(frozen=True)
class LadderDecision:
    step: LadderStep
    reason: str
    """one clause a person reads: what was seen, and what follows"""
    reached: LadderPosition


def start_position(rules: Rules, ratio: float | None) -> Start:
    """Take every rung that needs to be taken before the first byte. `ratio`: dirty rate over bandwidth.

    None: nobody measured. Then auto-converge is armed, since QEMU uses it on a migration that gets nowhere and on no
    other, and disks are left alone, since holding them hurts at once.
    """

    def holds(rung: Rung) -> bool:
        wanted = rung.when.ratio
        if not rung.when.before_start:
            return False
        if wanted is None:
            return True
        return ratio >= wanted if ratio is not None else not isinstance(rung.do, ThrottleIo)

    now = [rung.do for rung in rules.ladder if rung.at_start and rules.allows(rung) and holds(rung)]
    position, downtime = 0, 0.0
    for index, rung in enumerate(rules.ladder):
        if rung.at_start:
            continue
        if not (isinstance(rung.do, DowntimeTo) and holds(rung)):
            break
        position, downtime = index + 1, max(downtime, rules.downtime(index))
    limits = [do.throttle_io for do in now if isinstance(do, ThrottleIo)]
    return Start(
        reached=LadderPosition(position=position, downtime=downtime or rules.max_downtime),
        auto_converge=Act.AUTO_CONVERGE in now,
        throttle_io=min(limits) if limits else None,
    )


def next_step(
    history: Sequence[JobProgress], reached: LadderPosition, rules: Rules, *, elapsed: float
) -> LadderDecision:
    """The next step of a running migration, and why.

    `history` is oldest first, its `elapsed_seconds` counted like `elapsed`, from the start of the move; it may be empty or
    have gaps. The lowest rung above the last one taken whose condition holds is taken; the ones passed on the way are not
    gone back to. Past the timeout it is post-copy where that is allowed, else abort, whatever the ladder says; and abort
    once nothing at all was sent for `stuck_after`. After post-copy nothing is done any more: there is no way back. The pause
    allowed never becomes shorter.
    """
    if reached.post_copy or (history and history[-1].post_copy):
        return LadderDecision(
            LadderStep.GO_ON, "post-copy: the guest runs at the target", replace(reached, post_copy=True)
        )
    if reached.abort_asked:
        return LadderDecision(LadderStep.GO_ON, "told to end", reached)
    if elapsed >= rules.timeout:
        return _at_the_timeout(reached, rules, elapsed)
    if (still := stuck_for(history)) >= rules.stuck_after:
        return LadderDecision(
            LadderStep.ABORT, f"nothing was sent for {still:.0f} s: abort", _after(LadderStep.ABORT, reached)
        )
    for position in range(reached.position, len(rules.ladder)):
        rung = rules.ladder[position]
        if rung.at_start or not rules.allows(rung) or not _holds(rung.when, history, reached, rules, elapsed):
            continue
        taken = replace(reached, position=position + 1, since=elapsed)
        why = _why(rung.when, history, reached)
        if isinstance(rung.do, DowntimeTo):
            downtime = rules.downtime(position)
            if downtime <= reached.downtime:
                reached = replace(reached, position=position + 1)
                continue
            return LadderDecision(
                LadderStep.RAISE_DOWNTIME,
                f"{why}: downtime up to {downtime * 1000:.0f} ms",
                replace(taken, downtime=downtime),
            )
        step = LadderStep(str(rung.do))
        if step is LadderStep.SUSPEND and reached.suspended:
            continue
        return LadderDecision(step, f"{why}: {rung.what}", _after(step, taken))
    return LadderDecision(LadderStep.GO_ON, _course(history, reached), reached)


def _at_the_timeout(reached: LadderPosition, rules: Rules, elapsed: float) -> LadderDecision:
    step = LadderStep.POST_COPY if rules.post_copy and not reached.suspended else LadderStep.ABORT
    top = replace(reached, position=max(reached.position, len(rules.ladder)), since=elapsed)
    what = step.value.replace("_", "-")
    return LadderDecision(step, f"{rules.timeout:.0f} s are over, the policy's timeout: {what}", _after(step, top))


def _after(step: LadderStep, reached: LadderPosition) -> LadderPosition:
    return replace(
        reached,
        post_copy=step is LadderStep.POST_COPY,
        suspended=reached.suspended or step is LadderStep.SUSPEND,
        abort_asked=step is LadderStep.ABORT,
    )


def _holds(when: When, history: Sequence[JobProgress], reached: LadderPosition, rules: Rules, elapsed: float) -> bool:
    """Whether everything the condition names is so. What can't be told yet is not so."""
    memory = next((look.elapsed_seconds for look in history if look.iteration > 0), None)
    if when.left is not None and rules.timeout - elapsed > when.left.total_seconds():
        return False
    if when.after is not None and (memory is None or elapsed - memory < when.after.total_seconds()):
        return False
    if when.rounds is not None and (not history or history[-1].iteration <= when.rounds):
        return False
    if when.throttled is not None and (not history or history[-1].throttle < when.throttled):
        return False
    if when.ratio is not None:
        ratio = current_ratio(history)
        if ratio is None or ratio < when.ratio:
            return False
    if when.stalled is None:
        return True
    stalled = stalled_for(history, since=reached.since)
    return stalled > 0 and stalled >= when.stalled.total_seconds()


def stalled_for(history: Sequence[JobProgress], *, since: float = 0.0) -> float:
    """For how long the move has got nowhere, seconds, counted from `since` at the earliest; 0 while it gets on.

    It gets nowhere when two rounds in a row start with no less than 0.96 of the best before and auto-converge did not tighten
    meanwhile, or when no byte is sent at all.
    """
    if not history:
        return 0.0
    now = history[-1].elapsed_seconds
    best: JobProgress | None = None
    without = 0
    for look in _round_starts(history):
        if best is None or look.bytes_remaining < IMPROVED * best.bytes_remaining or look.throttle > best.throttle:
            best, without = look, 0
        else:
            without += 1
    stuck = now - max(best.elapsed_seconds, since) if best is not None and without >= ROUNDS_WITHOUT else 0.0
    still = stuck_for(history) if history[-1].bytes_processed > 0 else 0.0
    return max(stuck, min(still, now - since), 0.0)


def stuck_for(history: Sequence[JobProgress]) -> float:
    """For how long the job was seen not to send a single byte, memory or disk, seconds; before the first one as well: a
    target that has gone silent before it is a job that never begins. Time in which nobody could look does not count
    beyond the last look."""
    if not history:
        return 0.0
    last = history[-1]
    since = last
    for look in reversed(history):
        if look.bytes_processed != last.bytes_processed or look.iteration != last.iteration:
            break
        since = look
    return last.elapsed_seconds - since.elapsed_seconds


def _round_starts(history: Sequence[JobProgress]) -> list[JobProgress]:
    """The look of each round with most left: nearest to its start, since within a round it only falls."""
    rounds: dict[int, JobProgress] = {}
    for look in history:
        if look.iteration > 0:
            known = rounds.get(look.iteration)
            if known is None or look.bytes_remaining > known.bytes_remaining:
                rounds[look.iteration] = look
    return [rounds[number] for number in sorted(rounds)]


def last_round_limit(downtime: float, allowance: float) -> float:
    """QEMU's limit for a pause of `downtime` seconds in all, of which switching over takes `allowance`.

    QEMU compares what is left of the memory with limit × the bandwidth of the last 100 ms; stopping the guest, device state
    and starting it at the target come on top. 0.3 s with 0.1 s for those: 0.2 s; never less than a tenth.
    """
    return max(downtime - allowance, downtime / 10)


def smoothed(values: Sequence[float]) -> float | None:
    """Exponentially weighted mean, the newest weighing 0.4; None of nothing."""
    mean: float | None = None
    for value in values:
        mean = value if mean is None else SMOOTHING * value + (1 - SMOOTHING) * mean
    return mean


def current_ratio(history: Sequence[JobProgress]) -> float | None:
    """Dirty rate over bandwidth in the last rounds; None before the first round is over."""
    looks = [look for look in history if look.iteration > 1 and look.bytes_per_second > 0]
    bandwidth = smoothed([look.bytes_per_second for look in looks])
    dirty = smoothed([look.dirty_bytes_per_second for look in looks])
    return dirty / bandwidth if bandwidth and dirty is not None else None


def expected_left(history: Sequence[JobProgress]) -> float | None:
    """Seconds until the end if it goes on like this; None when it can't be told, or does not converge."""
    looks = [look for look in history if look.bytes_per_second > 0]
    bandwidth = smoothed([look.bytes_per_second for look in looks])
    if not bandwidth or not history:
        return None
    ratio = 0.0 if history[-1].post_copy else current_ratio(history) or 0.0
    return history[-1].bytes_remaining / bandwidth / (1 - ratio) if ratio < 1 else None


def link_carries(history: Sequence[JobProgress]) -> bool:
    """Whether bytes flowed in each of the last looks: post-copy on a link that stutters would lose the guest."""
    last = [look for look in history if look.iteration > 0][-4:]
    return len(last) > 1 and all(b.bytes_processed > a.bytes_processed for a, b in pairwise(last))


def _course(history: Sequence[JobProgress], reached: LadderPosition) -> str:
    if reached.suspended:
        return "suspended until it is over"
    if not history or history[-1].iteration == 0:
        return ""
    throttle = history[-1].throttle
    return f"slowed by {throttle:.0%}" if throttle else ""


def _why(when: When, history: Sequence[JobProgress], reached: LadderPosition) -> str:
    reasons: list[str] = []
    if when.stalled is not None:
        reasons.append(f"no progress for {stalled_for(history, since=reached.since):.0f} s")
    if when.throttled is not None:
        reasons.append(f"the guest is slowed by {history[-1].throttle:.0%}")
    if when.ratio is not None:
        reasons.append(f"it rewrites {current_ratio(history) or 0:.1f} × what the link carries")
    if when.rounds is not None:
        reasons.append(f"{history[-1].iteration - 1} rounds are over")
    if when.after is not None and when.after > timedelta(0):
        reasons.append(f"it has been copying for {when.after.total_seconds():.0f} s")
    if when.left is not None:
        reasons.append(f"{when.left.total_seconds():.0f} s are left")
    return ", ".join(reasons) or "from the start"
