"""The day before the lab came up: a healthy past for every hardware signal, for forecasts to stand on.

Written as OpenMetrics and turned into Prometheus blocks by promtool. SYNTHETIC, like all of `lab.hardware.physics`, and from
the same function as the live readings: history and presence meet without a step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lab.hardware import series
from lab.hardware.physics import readings
from lab.hardware.series import Job
from lab.nodes.node import Lab, run

SECONDS = 86400
STEP_SECONDS = 60

Labels = Callable[[str, Job], dict[str, str]]
"""(node, job) → the labels Prometheus gives to a live scrape of it."""


def backfill(lab: Lab, data_dir: Path, labels: Labels, *, end: float) -> int:
    """Write the blocks of the day that ends at `end` (Unix seconds) into Prometheus's data directory.

    Prometheus must not run yet. Returns the number of samples. Raises LabError with promtool's words."""
    data_dir.mkdir(parents=True, exist_ok=True)
    text, samples = openmetrics(lab, labels, end=end)
    source = data_dir.parent / "history.om"
    source.write_text(text)
    run(
        # One block for the day: promtool reads the whole file once per block.
        [
            "promtool", "tsdb", "create-blocks-from", "--max-block-duration=24h", "openmetrics", "--quiet",
            str(source), str(data_dir),
        ],
        timeout=120,
    )  # fmt: skip
    source.unlink()
    return samples


def openmetrics(lab: Lab, labels: Labels, *, end: float) -> tuple[str, int]:
    """The day before `end` of every node as OpenMetrics text, and how many samples that is."""
    from lab.hardware import faults

    state = faults.ensure(lab)
    times = np.arange(end - SECONDS, end, STEP_SECONDS, dtype=np.float64)
    stamps = [f" {t:.3f}\n" for t in times]
    by_metric: dict[str, list[str]] = defaultdict(list)  # OpenMetrics wants a metric's series side by side
    for node in lab.nodes:
        machine = state.machine(node)
        columns = readings(machine, times, state.faults)
        for one in series.all_series(machine.boot_time):
            name = _selector(one.metric, {**one.labels, **labels(node, one.job)})
            values = [f"{value:.10g}" for value in one.value(columns).tolist()]
            by_metric[one.metric].append("".join(f"{name} {v}{s}" for v, s in zip(values, stamps, strict=True)))
        for job in ("node", "ipmi", "libvirt"):
            name = _selector("up", labels(node, job))
            by_metric["up"].append("".join(f"{name} 1{stamp}" for stamp in stamps))
    rows = [row for metric in sorted(by_metric) for row in by_metric[metric]]
    return "".join(rows) + "# EOF\n", len(rows) * len(times)


def _selector(metric: str, labels: dict[str, str]) -> str:
    return metric + "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
