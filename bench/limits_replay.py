"""How soon the limits model sees each of the lab's faults, and how often it cries wolf on healthy machines. SYNTHETIC.

    .venv/bin/python -m bench.limits_replay faults [--runs 20] [--errors-after 360] [--death-after 600]
    .venv/bin/python -m bench.limits_replay healthy [--node-days 300] [--every 300]

Replays `lab.physics` through the shipped signals, without hardware events: what is seen is seen in the telemetry alone.
The trigger is the default policy's: P(2h) of 0.5. Lead is the time from there to the machine's death.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from lab import physics, replay
from lab.trajectory import KINDS, Fault, FaultKind
from models.forecast.limits import assess_node
from models.policy import Policy
from models.signal import SignalHistory
from tools.signals import load_catalogue

START = 1_764_000_000.0
SIGNALS = load_catalogue()
TRIGGER = Policy().trigger.probability


def window(histories: list[SignalHistory], now: float) -> list[SignalHistory]:
    """What an observation at `now` holds."""
    return [h.since(now - 86_400.0).until(now) for h in histories]


def fault_run(
    kind: FaultKind, seed: int, errors_after: float, death_after: float, interval: float = 5.0
) -> dict[str, float]:
    """Seconds from the onset to P(2h) >= 0.5 and >= 0.9, the highest P(2h) before the onset, and the lead."""
    rng = np.random.default_rng(seed)
    onset = START + float(rng.uniform(0.0, 86_400.0))
    fault = Fault("node-a", kind, onset, errors_after, death_after)
    machine = physics.Machine("node-a", seed, START)
    before = replay.grid(onset - 60.0, interval=interval)
    times = np.concatenate((before, np.arange(before[-1] + interval, onset + death_after, interval)))
    histories = replay.histories(machine, times, [fault], signals=SIGNALS)
    result = {"noticed": np.nan, "sure": np.nan, "before": 0.0}
    looks = np.arange(onset - 60.0, onset + death_after, max(interval, death_after / 240.0))
    for now in looks:
        p = assess_node("node-a", window(histories, float(now)), [], now=float(now)).probability["2h"]
        if now < onset:
            result["before"] = max(result["before"], p)
        elif p >= TRIGGER and np.isnan(result["noticed"]):
            result["noticed"] = now - onset
        if now >= onset and p >= 0.9:
            result["sure"] = now - onset
            break
        if not np.isnan(result["noticed"]) and now > onset + result["noticed"] + 0.25 * death_after:
            break
    result["lead"] = death_after - result["noticed"]
    return result


def faults(runs: int, errors_after: float, death_after: float) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        found = [fault_run(kind, seed, errors_after, death_after) for seed in range(runs)]
        noticed = np.array([r["noticed"] for r in found])
        sure = np.array([r["sure"] for r in found])
        seen = np.isfinite(noticed)
        rows.append(
            {
                "fault": kind,
                "runs": runs,
                "detected": float(seen.mean()),
                "before_errors": float((noticed < errors_after).mean()),
                "noticed_after_s": _quantiles(noticed[seen]),
                "sure_after_s": _quantiles(sure[np.isfinite(sure)]),
                "lead_s": _quantiles(death_after - noticed[seen]),
                "highest_before_onset": max(r["before"] for r in found),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def healthy(node_days: int, every: float) -> dict[str, object]:
    """False alarms over healthy machines, each replayed for a day after a day of history."""
    highest: list[float] = []
    alarms = looks = targets_lost = 0
    began = time.process_time()
    for seed in range(node_days):
        if seed and seed % 20 == 0:
            print(f"{seed} node-days, {alarms} false alarms, highest {max(highest):.4f}", file=sys.stderr, flush=True)
        machine = physics.Machine(f"node-{seed}", seed, START)
        first = START + 86_400.0
        times = np.concatenate((np.arange(START, first, 300.0), np.arange(first, first + 86_400.0, 15.0)))
        histories = replay.histories(machine, times, signals=SIGNALS)
        p = []
        for now in np.arange(first + 1800.0, first + 86_400.0, every):
            # The day before coarsely, the last half hour as scraped, as an observation has it.
            seen = []
            for h in window(histories, float(now)):
                fine = h.times >= now - 1800.0
                keep = fine | (np.mod(h.times, 300.0) == 0)
                seen.append(SignalHistory(h.signal, h.node, h.part, h.times[keep], h.values[keep]))
            p.append(assess_node(machine.node, seen, [], now=float(now)).probability["2h"])
        curve = np.array(p)
        looks += curve.size
        above = curve >= TRIGGER
        alarms += int(np.sum(above[1:] & ~above[:-1])) + int(above[0])
        targets_lost += int(np.sum(curve > 0.1))
        highest.append(float(curve.max()))
    return {
        "node_days": node_days,
        "looks": looks,
        "false_alarms": alarms,
        "false_alarms_per_1000_node_days": 1000.0 * alarms / node_days,
        "looks_above_0.1": targets_lost,
        "highest_p2h": max(highest),
        "node_days_with_p2h_above_1_percent": int(np.sum(np.array(highest) >= 0.01)),
        "cpu_seconds_per_look": (time.process_time() - began) / looks,
    }


def _quantiles(values: np.ndarray) -> dict[str, float] | None:
    if not values.size:
        return None
    return {"median": float(np.median(values)), "p95": float(np.quantile(values, 0.95)), "worst": float(values.max()),
            "least": float(values.min())}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for_faults = commands.add_parser("faults")
    for_faults.add_argument("--runs", type=int, default=20)
    for_faults.add_argument("--errors-after", type=float, default=360.0)
    for_faults.add_argument("--death-after", type=float, default=600.0)
    for_healthy = commands.add_parser("healthy")
    for_healthy.add_argument("--node-days", type=int, default=300)
    for_healthy.add_argument("--every", type=float, default=300.0)
    chosen = parser.parse_args()
    if chosen.what == "faults":
        faults(chosen.runs, chosen.errors_after, chosen.death_after)
    else:
        print(json.dumps(healthy(chosen.node_days, chosen.every)))


if __name__ == "__main__":
    sys.exit(main())
