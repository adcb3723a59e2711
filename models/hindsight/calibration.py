"""How right risks and plans turned out, with intervals: what was said beside what came. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import median

from models.base import UtcTime, Value
from models.hindsight.look_back import WINDOW, Hindsight, NodeEvidence, Scored
from models.share import Z_95, wilson

BANDS = (0.0, 0.01, 0.1, 0.3, 0.7, 1.0)
"""of probabilities, between which what came is counted"""
NEAR = 0.2
"""an estimate is near when what came lies within so much of it"""


class Share(Value):
    """So many of so many, with the 95 % interval of the share behind it."""

    count: int
    of: int
    share: float | None
    """None: of nothing"""
    low: float
    high: float


def share(count: int, of: int) -> Share:
    """So many of so many, with Wilson's interval."""
    low, high = wilson(count, of, Z_95)
    return Share(count=count, of=of, share=count / of if of else None, low=low, high=high)


class NotedRisks(Value):
    """P(fails within the window) of every node at one moment: those that matter by name, the others as one."""

    at: UtcTime
    probability: dict[str, float]
    others: int = 0
    others_mean: float = 0.0


class Band(Value):
    """Forecasts of about the same probability, and how many came true."""

    low: float
    high: float
    mean_probability: float
    came: Share
    fits: bool
    """what was said lies within the interval of what came"""


class Ratio(Value):
    """Measured over estimated."""

    moves: int
    median: float | None = None
    p10: float | None = None
    p90: float | None = None
    near: Share
    """within 20 % of the estimate"""


class Counts(Value):
    averted: int = 0
    unneeded: int = 0
    missed: int = 0
    unknowable: int = 0


class Calibration(Value):
    """How right it all was."""

    evacuations: Counts
    """carried out"""
    advice: Counts
    """not taken"""
    unadvised: int
    """failures that nobody was warned of"""
    needed: Share
    """of what was carried out and can be judged, averted"""
    foreseen: Share
    """of the failures, those that some decision foresaw"""
    risks: tuple[Band, ...]
    risks_left_out: int
    """forecasts of which nobody can tell: the node was emptied, or nobody looked"""
    seconds: Ratio
    downtime: Ratio
    expected_loss: float
    """of the evacuations that can be judged, as planned"""
    lost: float
    """what came instead: weight of the vms lost within the same horizon"""


def calibrate(
    scored: Sequence[Scored],
    noted: Sequence[NotedRisks],
    evidence: NodeEvidence,
    moves: Sequence[tuple[float, float]],
    pauses: Sequence[tuple[float, float]],
    now: datetime,
) -> Calibration:
    """`moves` and `pauses`: (estimated, measured) seconds of each move that was done."""
    taken = [one for one in scored if one.decision.taken]
    advised = [one for one in scored if not one.decision.taken and one.decision.id]
    unforeseen = [one for one in scored if not one.decision.id]
    judged = [one for one in taken if one.hindsight is not Hindsight.UNKNOWABLE]
    averted = sum(one.hindsight is Hindsight.AVERTED for one in taken)
    # by the verdict: of some a person said so, and nobody knows when
    failed = [one for one in scored if one.hindsight in (Hindsight.AVERTED, Hindsight.MISSED)]
    bands, left_out = _bands(noted, scored, evidence, now)
    return Calibration(
        evacuations=_counts(taken),
        advice=_counts(advised),
        unadvised=len(unforeseen),
        needed=share(averted, len(judged)),
        foreseen=share(len(failed) - len(unforeseen), len(failed)),
        risks=bands,
        risks_left_out=left_out,
        seconds=_ratio(moves),
        downtime=_ratio(pauses),
        expected_loss=sum(one.decision.expected_loss or 0.0 for one in judged),
        lost=sum(one.lost for one in judged),
    )


def _counts(scored: Iterable[Scored]) -> Counts:
    told = [one.hindsight for one in scored]
    return Counts(**{str(verdict): told.count(verdict) for verdict in Hindsight})


def _ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    ratios = sorted(measured / estimated for estimated, measured in pairs if estimated > 0)
    near = share(sum(abs(ratio - 1) <= NEAR for ratio in ratios), len(ratios))
    if not ratios:
        return Ratio(moves=0, near=near)

    def at(q: float) -> float:
        return ratios[min(len(ratios) - 1, int(q * len(ratios)))]

    return Ratio(moves=len(ratios), median=median(ratios), p10=at(0.1), p90=at(0.9), near=near)


def _bands(
    noted: Sequence[NotedRisks], scored: Sequence[Scored], evidence: NodeEvidence, now: datetime
) -> tuple[tuple[Band, ...], int]:
    """Each forecast beside what its node did within the window. One note a window: they do not overlap."""
    emptied = {(one.decision.node, one.decision.at): one for one in scored if one.decision.taken}
    told: list[tuple[float, int, int]] = []  # probability, forecasts, failures
    left_out = 0
    for note in noted:
        end = note.at + WINDOW
        if end > now:
            continue
        if evidence.unseen(note.at, end) is not None:
            left_out += len(note.probability) + note.others
            continue
        failed = evidence.failed_within(note.at, end, now)
        for node, p in note.probability.items():
            unknown = [
                one
                for (name, at), one in emptied.items()
                if name == node and note.at <= at <= end and not one.failed_at
            ]
            if any(one.hindsight is Hindsight.UNKNOWABLE for one in unknown):
                left_out += 1
            else:
                saved = any(
                    name == node and note.at <= at <= end and one.failed_at for (name, at), one in emptied.items()
                )
                told.append((p, 1, int(node in failed or saved)))
        if note.others:
            told.append((note.others_mean, note.others, len(failed - note.probability.keys())))
    return tuple(_band(low, high, told) for low, high in pairwise(BANDS)), left_out


def _band(low: float, high: float, told: Sequence[tuple[float, int, int]]) -> Band:
    mine = [one for one in told if low <= one[0] < high or (high == 1.0 and one[0] == 1.0)]
    count = sum(n for _, n, _ in mine)
    mean = sum(p * n for p, n, _ in mine) / count if count else 0.0
    came = share(min(count, sum(f for _, _, f in mine)), count)
    return Band(low=low, high=high, mean_probability=mean, came=came, fits=came.low <= mean <= came.high)
