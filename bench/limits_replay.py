"""How soon the limits model sees each of the lab's faults, and how often it cries wolf on healthy machines. SYNTHETIC.

    .venv/bin/python -m bench.limits_replay faults [--runs 20] [--evacuation 300] [--shortest 20m] [--longest 6h] [--scrape 60]
    .venv/bin/python -m bench.limits_replay healthy [--node-days 200] [--every 900] [--scrape 60] [--disturbed]

Replays `lab.hardware.physics` through the shipped signals, without hardware events: what is seen is seen in the telemetry alone.
Each fault begins at a random moment of a day and takes a random time to kill, evenly on a logarithmic scale. Judged are the
default policy's tiers: a fault is caught when the node would be evacuated (or drained) at least `--evacuation` seconds before
it dies. A healthy node-day is false when any look would drain or evacuate. Each look is judged by itself: hysteresis only holds.
`--scrape`: seconds between scrapes (without it 15, of fast faults 5). `--disturbed`: coarse sensors, load
swings, reboots, exporters that restart and one BMC reset a day, by `lab.hardware.nuisance`.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from scipy.stats import chi2

from lab.hardware import nuisance, physics, replay
from lab.hardware.trajectory import KINDS, Fault, FaultKind
from models.base import parse_duration
from models.fleet import Priority, Vm
from models.forecast.limits.node import assess_node
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.risk.risk_level import node_risk
from models.risk.signal import SignalHistory
from models.risk.tier import Tier, assess_tier
from tools.signals import load_catalogue

START = 1_764_000_000.0
SIGNALS = load_catalogue()
POLICY = Policy()
STAKE = [Vm(uuid="v", name="v", node="node-a", memory_bytes=1 << 34, priority=Priority.HIGH)]
"""One high-priority vm that can move live: the least that makes a drain worth its effort."""
LOOKS = 80
"""At most, between the onset and the death; detection is late by up to a step."""


@dataclass(frozen=True)
class Caught:
    """What became of one fault."""

    kind: FaultKind
    seconds_to_death: float
    drained_after: float
    """seconds from the onset until a drain or an evacuation is worth it; NaN: never"""
    evacuated_after: float
    before_onset: bool
    """it would have acted on the node before there was a fault"""


def tier(histories: list[SignalHistory], now: float) -> tuple[Tier, Risk]:
    """What one look at `now` is worth, seeing what an observation holds then: a day, the last half hour finely."""
    times = histories[0].times  # of all of them
    first, after = np.searchsorted(times, now - 86_400.0), np.searchsorted(times, now, side="right")
    stretch = np.floor(times[first : after + 1] / 300.0)
    last = np.append(stretch[1:] > stretch[:-1], True)[: after - first]  # of each five minutes
    kept = first + np.flatnonzero((times[first:after] >= now - 1800.0) | last)
    held = times[kept]
    seen = [SignalHistory(h.signal, "node-a", h.part, held, h.values[kept]) for h in histories]
    risk = assess_node("node-a", seen, [], now=now)
    at = datetime.fromtimestamp(now, UTC)
    return assess_tier(node_risk("node-a", risk, POLICY, at), STAKE, POLICY).tier, risk


def fault_run(job: tuple[FaultKind, int, float, float, float]) -> Caught:
    """Replay one fault from a minute before its onset until it would be acted on, or the machine is dead."""
    kind, seed, shortest, longest, scrape = job
    rng = np.random.default_rng(seed)
    onset = START + 86_400.0 + float(rng.integers(0, 5760)) * 15.0
    death = float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))
    fault = Fault(node="node-a", kind=kind, onset=onset, seconds_to_errors=0.6 * death, seconds_to_death=death)
    interval = scrape or (5.0 if death < 3600.0 else 15.0)
    before = np.arange(onset - 86_400.0, onset - 1800.0, 300.0)
    before = np.floor(before / 300.0) * 300.0
    # A target is scraped at its own moment within the interval.
    fine = np.arange(onset - 1800.0 + rng.uniform(0.0, interval), onset + death, interval)
    histories = replay.histories(
        physics.Machine("node-a", seed, START), np.unique(np.concatenate((before, fine))), [fault], signals=SIGNALS,
        scrape=scrape,
    )  # fmt: skip
    early = any(_acts(tier(histories, now)[0]) for now in (onset - 60.0, onset - 1.0))
    drained = evacuated = np.nan
    for now in np.arange(onset, onset + death, max(15.0, death / LOOKS)):
        found, _ = tier(histories, float(now))
        if _acts(found) and np.isnan(drained):
            drained = now - onset
        if found is Tier.EVACUATE:
            evacuated = now - onset
            break
    return Caught(kind, death, drained, evacuated, early)


def _acts(found: Tier) -> bool:
    return found in (Tier.DRAIN, Tier.EVACUATE)


def faults(runs: int, evacuation: float, shortest: float, longest: float, scrape: float) -> None:
    jobs = [(kind, seed, shortest, longest, scrape) for kind in KINDS for seed in range(runs)]
    with ProcessPoolExecutor(max_workers=2) as pool:
        caught = list(pool.map(fault_run, jobs))
    for kind in (*KINDS, "all"):
        mine = [c for c in caught if kind in (c.kind, "all")]
        death = np.array([c.seconds_to_death for c in mine])
        row: dict[str, object] = {
            "fault": kind,
            "runs": len(mine),
            "acted_before_onset": sum(c.before_onset for c in mine),
        }
        for word, after in (
            ("evacuated", np.array([c.evacuated_after for c in mine])),
            ("drained_or_evacuated", np.array([c.drained_after for c in mine])),
        ):
            lead = death - after
            row[word] = {
                "in_time": round(float(np.mean(np.where(np.isnan(lead), False, lead >= evacuation))), 3),
                "ever": round(float(np.mean(np.isfinite(after))), 3),
                "share_of_the_fault_gone_median": _round(np.nanmedian(after / death)),
                "lead_s_median": _round(np.nanmedian(lead)), "lead_s_least": _round(np.nanmin(lead)),
            }  # fmt: skip
        print(json.dumps(row), flush=True)


def healthy_day(job: tuple[int, float, float, bool]) -> tuple[int, bool, bool, float, float]:
    """(looks, ever drained, ever evacuated, highest P(2h), highest P(24h)) of a healthy machine's second day."""
    seed, every, scrape, is_disturbed = job
    first, interval = START + 86_400.0, scrape or 15.0
    times = np.concatenate(
        (np.arange(START, first, max(300.0, interval)), np.arange(first, first + 86_400.0, interval))
    )
    machine = physics.Machine(f"node-{seed}", seed, START)
    histories = replay.histories(machine, times, signals=SIGNALS, scrape=scrape)
    if is_disturbed:
        histories = nuisance.disturbed(machine, histories, scrape=interval)
    moments = set(np.arange(first + 1800.0, first + 86_400.0, every).tolist())
    if is_disturbed:  # and each minute of the quarter of an hour after what disturbs most
        for day in (first, first + 86_400.0):
            moments |= {at + 60.0 * minute for at in nuisance.moments(machine, day) for minute in range(16)}
    looks = [tier(histories, now) for now in sorted(moments) if first + 1800.0 <= now < first + 86_400.0]
    return (
        len(looks), any(t is Tier.DRAIN for t, _ in looks), any(t is Tier.EVACUATE for t, _ in looks),
        max(r.probability["2h"] for _, r in looks), max(r.probability["24h"] for _, r in looks),
    )  # fmt: skip


def healthy(node_days: int, every: float, scrape: float, is_disturbed: bool, skipped: int) -> None:
    """One line for each 500 node-days on the way, so that a run cut short still says something."""
    with ProcessPoolExecutor(max_workers=2) as pool:
        days: list[tuple[int, bool, bool, float, float]] = []
        for day in pool.map(
            healthy_day, [(seed, every, scrape, is_disturbed) for seed in range(skipped, skipped + node_days)]
        ):
            days.append(day)
            if len(days) % 500 == 0 or len(days) == node_days:
                print(json.dumps(_summary(days)), flush=True)


def _summary(days: list[tuple[int, bool, bool, float, float]]) -> dict[str, object]:
    false = sum(drained or evacuated for _, drained, evacuated, _, _ in days)
    return {
        "node_days": len(days), "looks": sum(day[0] for day in days), "false_node_days": false,
        "of_those_evacuated": sum(day[2] for day in days), "false_per_1000_node_days": round(1000.0 * false / len(days), 3),
        # Poisson, exact; where none was seen it is the rule of three.
        "upper_95_per_1000_node_days": round(1000.0 * float(chi2.ppf(0.95, 2 * (false + 1))) / 2.0 / len(days), 3),
        "highest_p2h": max(day[3] for day in days), "highest_p24h": max(day[4] for day in days),
    }  # fmt: skip


def _round(value: float) -> float | None:
    return round(float(value), 2) if np.isfinite(value) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for_faults = commands.add_parser("faults")
    for_faults.add_argument("--runs", type=int, default=20)
    for_faults.add_argument("--evacuation", type=float, default=300.0, help="seconds an evacuation takes")
    for_faults.add_argument("--shortest", default="20m")
    for_faults.add_argument("--longest", default="6h")
    for_healthy = commands.add_parser("healthy")
    for_healthy.add_argument("--node-days", type=int, default=200)
    for_healthy.add_argument("--every", type=float, default=900.0)
    for_healthy.add_argument("--disturbed", action="store_true")
    for_healthy.add_argument("--skip", type=int, default=0, help="machines left out, of an earlier run")
    for one in (for_faults, for_healthy):
        one.add_argument("--scrape", type=float, default=0.0)
    chosen = parser.parse_args()
    if chosen.what == "faults":
        shortest, longest = (parse_duration(d).total_seconds() for d in (chosen.shortest, chosen.longest))
        faults(chosen.runs, chosen.evacuation, shortest, longest, chosen.scrape)
    else:
        healthy(chosen.node_days, chosen.every, chosen.scrape, chosen.disturbed, chosen.skip)


if __name__ == "__main__":
    sys.exit(main())
