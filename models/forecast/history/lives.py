"""What a lifeboat knows of its own fleet's past, as the tables of a dataset. Pure.

One function makes them, for `lifeboat history` to write and for the agent to score from, so that a feature can't be one
thing in training and another in use.

A unit is one life of a node: from when it was first seen, until it was evacuated, taken into planned work, fell silent for
good, or the history ends. What would have happened to an evacuated node is unknown, and what is done to it then (a repair,
a reboot) is no failure; its next life begins with its next boot. So it is with planned work on one node: a disk is swapped
because it was failing. Work on all nodes at once says nothing of any. The first life bears the node's name, the later ones
`NAME#2`, `NAME#3`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl

from models.risk.incidents import Incident, Spell, Window, incidents
from models.risk.signal import HardwareEvent

SILENCE = 2 * 86_400.0
"""Seconds without a row, of which there is one a day at least, after which a life has ended."""
QUARANTINE = 30 * 86_400.0
"""Seconds after an evacuation in which a node that does not boot stays in its old life: whoever was to repair it has by then."""
LEAST_DOWN = 7200.0
"""Seconds of silence at the end of the history that count as down: an hour of which a moment is missing tells nothing."""
BOOT = "node: boot"
"""The event that a boot seen in the uptime becomes, planned or not."""

TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class History:
    """Everything kept of the past, up to and including `until` (unix seconds; 0: nothing yet)."""

    since: float
    until: float
    rows: pl.DataFrame
    """unit (a node's name), time, and the columns of `models.forecast.history.rows.node_columns`"""
    parts: Mapping[str, pl.DataFrame] = field(default_factory=dict[str, pl.DataFrame])
    """by component: unit (`node/part`), time, and the columns of `part_columns`"""
    events: tuple[HardwareEvent, ...] = ()
    spells: tuple[Spell, ...] = ()
    """each node's in order"""

    def cut(self, since: float, until: float) -> History:
        """The part of it between two moments."""
        begin, end = moment(since), moment(until)

        def inside(frame: pl.DataFrame) -> pl.DataFrame:
            return frame.filter((pl.col("time") >= begin) & (pl.col("time") <= end))

        return History(
            since=max(since, self.since),
            until=min(until, self.until),
            rows=inside(self.rows),
            parts={name: inside(frame) for name, frame in self.parts.items()},
            events=tuple(e for e in self.events if begin <= e.time <= end),
            spells=tuple(
                replace(s, start=max(since, s.start), until=min(until, s.until))
                for s in self.spells
                if s.start <= until and s.until >= since
            ),
        )


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a node. Times are unix seconds."""

    unit: str
    node: str
    start: float
    until: float | None
    """it was evacuated, or fell silent; None: still observed"""


def moment(at: float) -> datetime:
    """Unix seconds as a UTC time; what no calendar holds becomes its end."""
    return datetime.fromtimestamp(min(max(at, 0.0), 32_503_680_000.0), UTC)


def lives(
    history: History, evacuated: Sequence[tuple[str, float]] = (), maintenance: Sequence[Window] = ()
) -> list[Life]:
    """Every life of every node, by node, in order. evacuated: (node, unix seconds). Work on all nodes (`*`) ends none."""
    spells: dict[str, list[Spell]] = defaultdict(list)
    for spell in history.spells:
        spells[spell.node].append(spell)
    left: dict[str, list[float]] = defaultdict(list)
    for node, at in sorted(evacuated, key=lambda one: one[1]):
        left[node].append(at)
    planned: dict[str, list[Window]] = defaultdict(list)
    for window in maintenance:
        planned[window.node].append(window)
    found: list[Life] = []
    for (node,), frame in (
        history.rows.select("unit", "time").sort("unit", "time").group_by("unit", maintain_order=True)
    ):
        seen = frame["time"].dt.epoch("ms").to_numpy() / 1000.0
        name = str(node)
        found += _lives_of(name, seen, spells[name], left[name], planned[name], history.until)
    return found


def _lives_of(
    node: str,
    seen: np.ndarray[tuple[int], np.dtype[np.float64]],
    spells: list[Spell],
    left: list[float],
    planned: list[Window],
    until: float,
) -> list[Life]:
    def seen_from(at: float) -> float:
        back = seen[seen >= at]
        return float(back[0]) if back.size else np.inf

    breaks: list[tuple[float, float]] = []  # (a life's end, the next one's start); infinite: none yet
    gone = np.flatnonzero(np.diff(np.append(seen, until)) > SILENCE)
    for k in gone:
        last = max([float(seen[k]), *(s.until for s in spells if s.until <= seen[k] + SILENCE)])
        breaks.append((last, float(seen[k + 1]) if k + 1 < seen.size else np.inf))
    for at in left:
        if seen[0] <= at <= until:
            boots = [s.start for s in spells if s.booted > at and s.start > at]
            breaks.append((at, seen_from(min([*boots, at + QUARANTINE]))))
    breaks += [(w.start, seen_from(max(w.start, w.end))) for w in planned if seen[0] <= w.start <= until]
    found: list[Life] = []
    start = float(seen[0])
    for end, again in sorted(breaks):
        if end < start or start == np.inf:  # within what has ended already: a second evacuation, a silence after one
            continue
        found.append(Life(_named(node, len(found)), node, start, end))
        start = again
    if start < np.inf:
        found.append(Life(_named(node, len(found)), node, start, None))
    return found


def _named(node: str, before: int) -> str:
    return node if not before else f"{node}#{before + 1}"


def failures(
    history: History, *, reported: Sequence[tuple[str, float]] = (), maintenance: Sequence[Window] = ()
) -> list[Incident]:
    """Every unplanned failure that the history tells of, or people report, until it ends."""
    return incidents(
        history.spells,
        until=history.until,
        reported=[one for one in reported if one[1] <= history.until],
        maintenance=maintenance,
        events=history.events,
        least_down_seconds=LEAST_DOWN,
    )


def tables(history: History, known: Sequence[Life], found: Sequence[Incident] = ()) -> dict[str, pl.DataFrame]:
    """units, telemetry, events and failures: what `models.forecast.data.dataset.build` takes and a dataset folder holds.

    A failure after its node's life has ended, and before the next begins, is left out: it is unknown what led to it.
    """
    starts = pl.DataFrame(
        {"unit": [x.node for x in known], "time": [moment(x.start) for x in known], "life": [x.unit for x in known]},
        schema={"unit": pl.String, "time": TIME, "life": pl.String},
    ).sort("unit", "time")
    events = [(e.node, e.time, f"{e.component}: {e.kind}") for e in history.events if e.asserted]
    before: str | None = None
    for spell in history.spells:
        if spell.node == before:  # a node's first spell is where the history begins, not a boot
            events.append((spell.node, moment(spell.start), BOOT))
        before = spell.node
    logged = pl.DataFrame(events, schema={"unit": pl.String, "time": TIME, "kind": pl.String}, orient="row")
    failed = (
        [
            (life.unit, moment(one.at))
            for one in found
            for life in known
            if life.node == one.node and life.start <= one.at <= (np.inf if life.until is None else life.until)
        ]
        if found
        else []
    )
    return {
        "units": pl.DataFrame(
            {
                "unit": [x.unit for x in known],
                "observed_from": [moment(x.start) for x in known],
                "observed_until": [None if x.until is None else moment(x.until) for x in known],
            },
            schema={"unit": pl.String, "observed_from": TIME, "observed_until": TIME},
        ),
        "telemetry": _placed(history.rows, starts),
        "events": _placed(logged, starts),
        "failures": pl.DataFrame(failed, schema={"unit": pl.String, "failed_at": TIME}, orient="row"),
    }


def part_tables(history: History, component: str) -> dict[str, pl.DataFrame]:
    """units and telemetry of the parts of one component, for a model trained on data about such parts."""
    rows = history.parts[component]
    units = rows.group_by("unit").agg(pl.col("time").min().alias("observed_from"))
    return {
        "units": units.with_columns(pl.lit(None, TIME).alias("observed_until")).sort("unit"),
        "telemetry": rows,
    }


def _placed(frame: pl.DataFrame, starts: pl.DataFrame) -> pl.DataFrame:
    """`frame` with the life in place of the node; what came before a node's first life is left out."""
    order = [column for column in frame.columns if column not in ("unit", "time")]
    placed = frame.sort("time").join_asof(
        starts.sort("time"), on="time", by="unit", strategy="backward", check_sortedness=False
    )
    placed = placed.filter(pl.col("life").is_not_null()).with_columns(pl.col("life").alias("unit"))
    return placed.select("unit", "time", *order).sort("unit", "time")
