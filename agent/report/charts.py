"""The report's charts as inline SVG: the risk over time, the risk over horizons, the moves on a time line.

`drawing` says how they become part of a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.report.drawing import (
    ACCENT,
    COLD,
    DANGER,
    MUTED,
    NARROW,
    PAPER,
    RULE,
    WIDE,
    Size,
    Texts,
    new_figure,
    to_svg,
)
from agent.report.report import Fate, MomentKind, NodeRow, Report, ReportKind, RiskLine, VmRow
from models.base import parse_duration
from models.plan import ActionKind
from models.planning.simulation import Simulation
from models.text import counted, percent, seconds_in_words, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ROWS = 40
"""moves drawn; the table below the chart lists all of them"""
MAX_NAMED_LINES = 5
MAX_LINES = 30
"""nodes drawn: those being emptied and the riskiest"""
STANDS_OUT = 0.05
"""a probability from which a line bears its node's name: names of healthy nodes would cover each other and say nothing"""

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800)


def risk_chart(report: Report) -> str:
    """How each node's P(fails within the horizon) ran, with the trigger and numbered moments; "" without data."""
    lines = [line for line in report.risk_lines if len(line.points) > 1]
    if not lines:
        return ""
    return "".join(_risk(report, lines, size) for size in (WIDE, NARROW))


def _risk(report: Report, lines: Sequence[RiskLine], size: Size) -> str:
    texts = Texts()
    figure, axes = new_figure(2.9, size)
    first = min(line.points[0].time for line in lines)
    last = max([line.points[-1].time for line in lines] + [moment.time for moment in report.moments])
    span = max(1.0, (last - first).total_seconds())
    _probability_axis(axes, report, texts)
    _clock_axis(axes, first, span, texts, size)
    _draw_lines(axes, lines, first, span, texts, size)
    rows: list[float] = []
    apart = 0.032 * WIDE.inches / size.inches
    for number, step in enumerate(report.moments, start=1):
        x = (step.time - first).total_seconds()
        # Moments seconds apart would cover each other: each takes the lowest row where its circle is free.
        row = next((r for r, used in enumerate(rows) if x - used > span * apart), len(rows))
        rows[row : row + 1] = [x]
        colour = DANGER if step.kind is MomentKind.NODE_LOST else MUTED
        top = 1.10 + 0.115 * row
        axes.plot([x, x], [0, top], color=colour, linewidth=0.7, alpha=0.55, clip_on=False, zorder=1)
        axes.plot([x], [top], "o", markersize=11, markerfacecolor=PAPER, markeredgecolor=colour,
                  markeredgewidth=0.8, clip_on=False, zorder=5)  # fmt: skip
        axes.text(x, top - 0.005, texts.put(str(number)), ha="center", va="center", fontsize=7.5, color=colour,
                  zorder=6)  # fmt: skip
    figure.subplots_adjust(top=0.93 - 0.075 * max(1, len(rows)))
    return to_svg(figure, texts, "risk", f"Risk over time of {len(lines)} nodes, with the trigger and each step", size)


def horizon_chart(report: Report) -> str:
    """Each node's P(fails within h) over h, as forecast, and the trigger's point; "" without a known risk."""
    known = [node for node in report.nodes if node.probability and not node.unknown_why]
    if not known:
        return ""
    return "".join(_horizons(report, known, size) for size in (WIDE, NARROW))


def _horizons(report: Report, known: Sequence[NodeRow], size: Size) -> str:
    texts = Texts()
    figure, axes = new_figure(2.7, size)
    _probability_axis(axes, report, texts)
    axes.set_xscale("log")
    seconds = {h: parse_duration(h).total_seconds() for node in known for h in node.probability}
    low, high = min(seconds.values()), max(seconds.values())
    axes.set_xlim(low * 0.9, high * 1.02 if high > low else low * 1.1)
    ticks = sorted(set(seconds.values()))
    axes.set_xticks(ticks, [texts.put(seconds_in_words(tick)) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(texts.put("fails within"), color=MUTED)
    # A line for each node of a large fleet would say nothing more and weigh more than the rest of the page.
    ranked = sorted(known, key=lambda node: (node.evacuating, node.at_trigger_horizon or 0.0), reverse=True)[:MAX_LINES]
    ends = _Spread(0.075)
    named = _named([(node.evacuating, node.at_trigger_horizon or 0.0) for node in ranked])
    for rank, node in enumerate(ranked):
        colour, width = _style(node.evacuating, rank in named)
        curve = sorted((seconds[h], p) for h, p in node.probability.items())
        axes.plot([s for s, _ in curve], [p for _, p in curve], color=colour, linewidth=width, marker="o",
                  markersize=3.2 if rank in named else 0, zorder=3)  # fmt: skip
        if rank in named:
            _name_line(axes, texts, node.name, ends.place(curve[-1][1]), colour, size)
    rest = [max(node.probability.values()) for rank, node in enumerate(ranked) if rank not in named]
    _name_rest(axes, texts, len(known) - len(named), rest, ends, size)
    trigger = report.trigger
    axes.plot([trigger.horizon_seconds], [trigger.probability], "D", markersize=6, color=DANGER, zorder=4)
    return to_svg(figure, texts, "horizon", f"Probability of failing over the horizon, {len(ranked)} nodes", size)


def moves_chart(report: Report) -> str:
    """The moves on a time line, as estimated and as measured; "" when nothing was to move."""
    rows = [vm for vm in report.concerned if vm.planned not in (None, ActionKind.STAY)][:MAX_ROWS]
    if not rows:
        return ""
    return "".join(_moves(report, rows, size) for size in (WIDE, NARROW))


def _moves(report: Report, rows: Sequence[VmRow], size: Size) -> str:
    texts = Texts()
    figure, axes = new_figure(0.72 + 0.36 * len(rows), size)
    measured = report.kind is ReportKind.EVACUATION
    for index, vm in enumerate(rows):
        _draw_move(axes, texts, vm, index, measured, size)
    end = max(max(_ends(vm)) for vm in rows)
    if report.started_at is not None:
        for step in report.moments:
            x = (step.time - report.started_at).total_seconds()
            if step.kind is MomentKind.NODE_LOST and 0 <= x <= end * 2:
                axes.axvline(x, color=DANGER, linewidth=1.0, linestyle=(0, (4, 3)))
                axes.text(x, -0.75, texts.put(step.label), ha="center", va="bottom", fontsize=8, color=DANGER)
                end = max(end, x)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [texts.put(vm.name, 13 if size.narrow else 22) for vm in rows])
    axes.tick_params(axis="y", length=0, pad=6)
    axes.set_xlim(0, max(end, 1e-3) * (2.1 if size.narrow else 1.3))  # room for the last bar's label
    step = _step(end, size.ticks)
    ticks = [tick * step for tick in range(int(end / step) + 1)]
    axes.set_xticks(ticks, [texts.put(seconds_in_words(tick) if tick else "start") for tick in ticks])
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.spines["left"].set_visible(False)
    figure.subplots_adjust(left=0.27 if size.narrow else 0.17, right=0.985, top=1 - 0.26 / figure.get_figheight(),
                           bottom=0.30 / figure.get_figheight())  # fmt: skip
    return to_svg(figure, texts, "moves", f"{len(rows)} moves on a time line, from the start of the evacuation", size)


def simulation_chart(simulation: Simulation) -> str:
    """Vms lost by each strategy: the average as a bar, half of the runs and 95 of 100 as marks on a line."""
    return "".join(_simulated(simulation, size) for size in (WIDE, NARROW))


def _simulated(simulation: Simulation, size: Size) -> str:
    texts = Texts()
    rows = simulation.strategies
    figure, axes = new_figure(0.75 + 0.42 * len(rows), size)
    for index, one in enumerate(rows):
        half, most = simulation.vms - one.saved.p50, simulation.vms - one.saved.p95
        colour = ACCENT if index == len(rows) - 1 else COLD
        axes.barh(index, one.lost_mean, height=0.46, color=colour, alpha=0.85, linewidth=0)
        axes.plot([half, most], [index, index], color=MUTED, linewidth=1.2, marker="|", markersize=9, zorder=4)
        label = f"{one.lost_mean:.3g} on average, at most {most:g} in 95 of 100"
        label = f"{one.lost_mean:.3g}, at most {most:g}" if size.narrow else label
        axes.text(max(most, one.lost_mean), index, _beside(texts, label), va="center", color=MUTED, zorder=5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [texts.put(one.strategy, 14 if size.narrow else 22) for one in rows])
    axes.tick_params(axis="y", length=0, pad=6)
    most = max(1.0, *(simulation.vms - one.saved.p95 for one in rows), *(one.lost_mean for one in rows))
    axes.set_xlim(0, most * 1.75)  # room for the longest bar's label
    step = max(1, round(most / 5))
    ticks = list(range(0, int(most) + 1, step))
    axes.set_xticks(ticks, [texts.put(str(tick)) for tick in ticks])
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.spines["left"].set_visible(False)
    figure.subplots_adjust(
        left=0.27 if size.narrow else 0.13, right=0.985, top=0.97, bottom=0.34 / figure.get_figheight()
    )
    return to_svg(figure, texts, "simulation", f"Vms lost by {len(rows)} strategies in {simulation.runs} runs", size)


def _ends(vm: VmRow) -> tuple[float, float]:
    took = vm.measured.seconds or 0.0
    return (
        vm.estimated_start_seconds + vm.estimated_seconds,
        vm.started_seconds + took if vm.started_seconds is not None else 0.0,
    )


def _draw_move(axes: Axes, texts: Texts, vm: VmRow, index: int, measured: bool, size: Size) -> None:
    """One row: the estimate as an outline, and what was measured as a filled bar on it."""
    colour = COLD if vm.planned in (ActionKind.COLD_ARCHIVE, ActionKind.COLD_MIGRATE) else ACCENT
    begin, took = vm.estimated_start_seconds, vm.estimated_seconds
    if not measured:
        axes.barh(index, took, left=begin, height=0.46, color=colour, alpha=0.85, linewidth=0)
        goes = f"→ {visible(vm.target, size.name)}" if vm.target else "→ archive"
        axes.text(begin + took, index, _beside(texts, f"{goes}, {seconds_in_words(took)}"), va="center", color=MUTED)
        return
    axes.barh(index + 0.25, took, left=begin, height=0.13, facecolor="none", edgecolor=MUTED, linewidth=0.7)
    if vm.started_seconds is None:
        axes.text(0, index - 0.06, _beside(texts, "never tried"), va="center", color=MUTED)
        return
    good = vm.fate in (Fate.MOVED, Fate.ARCHIVED, Fate.MOVING)
    colour = colour if good else DANGER
    lasted = vm.measured.seconds or 0.0
    axes.barh(index - 0.06, lasted, left=vm.started_seconds, height=0.40, color=colour, alpha=0.9, linewidth=0)
    silent = vm.measured.blackout_seconds if vm.measured.blackout_seconds is not None else vm.measured.downtime_seconds
    label = seconds_in_words(lasted) if vm.measured.seconds is not None else "no time measured"
    if silent is not None and vm.planned is ActionKind.LIVE_MIGRATE and not size.narrow:
        label += f", silent {seconds_in_words(silent)}"
    if not good:
        label = f"{vm.outcome or vm.fate}, {label}" if vm.fate is not Fate.INDETERMINATE else f"indeterminate, {label}"
    axes.text(vm.started_seconds + lasted, index - 0.06, _beside(texts, label), va="center", color=MUTED)


def _beside(texts: Texts, label: str) -> str:
    return texts.put(f"\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}{label}")


class _Spread:
    """Hands out heights for labels so that no two stand closer than `gap`."""

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._taken: list[float] = []

    def place(self, wanted: float) -> float:
        free = [
            wanted + sign * step * self._gap
            for step in range(20)
            for sign in (1, -1)
            if all(abs(wanted + sign * step * self._gap - taken) >= self._gap * 0.99 for taken in self._taken)
            and -0.02 <= wanted + sign * step * self._gap <= 1.05
        ]
        at = free[0] if free else wanted
        self._taken.append(at)
        return at


def _named(lines: Sequence[tuple[bool, float]]) -> set[int]:
    """Which of the lines (being emptied, highest probability), the most important first, bear their node's name."""
    named = {rank for rank, (evacuating, p) in enumerate(lines) if evacuating or p >= STANDS_OUT}
    return {rank for rank in named if rank < MAX_NAMED_LINES} or ({0} if len(lines) == 1 else set())


def _style(evacuating: bool, named: bool) -> tuple[str, float]:
    if evacuating:
        return DANGER, 2.2
    return (ACCENT, 1.3) if named else (RULE, 1.0)


def _draw_lines(axes: Axes, lines: Sequence[RiskLine], first: datetime, span: float, texts: Texts, size: Size) -> None:
    ends = _Spread(0.085)
    ranked = sorted(lines, key=lambda line: (not line.evacuating, -max(p.probability for p in line.points)))
    named = _named([(line.evacuating, max(p.probability for p in line.points)) for line in ranked])
    for rank, line in enumerate(ranked):
        colour, width = _style(line.evacuating, rank in named)
        x = [(point.time - first).total_seconds() for point in line.points]
        y = [point.probability for point in line.points]
        axes.plot(x, y, color=colour, linewidth=width, zorder=3, solid_capstyle="round")
        if rank in named:
            _name_line(axes, texts, line.node, ends.place(line.points[-1].probability), colour, size)
    rest = [line.points[-1].probability for rank, line in enumerate(ranked) if rank not in named]
    _name_rest(axes, texts, len(rest), rest, ends, size)
    axes.set_xlim(0, span)


def _name_line(axes: Axes, texts: Texts, name: str, height: float, colour: str, size: Size) -> None:
    axes.text(1.012, height, texts.put(name, size.name), transform=axes.get_yaxis_transform(), ha="left", va="center",
              color=colour, clip_on=False)  # fmt: skip


def _name_rest(axes: Axes, texts: Texts, count: int, heights: Sequence[float], ends: _Spread, size: Size) -> None:
    """One name for all the lines that have none of their own."""
    if count > 0 and heights:
        _name_line(axes, texts, counted(count, "other"), ends.place(max(heights)), MUTED, size)


def _probability_axis(axes: Axes, report: Report, texts: Texts) -> None:
    axes.set_ylim(0, 1.04)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], [texts.put(f"{share} %") for share in (0, 25, 50, 75, 100)])
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.axhline(report.trigger.probability, color=DANGER, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2)
    horizon = seconds_in_words(report.trigger.horizon_seconds)
    label = texts.put(f"trigger: {percent(report.trigger.probability)} within {horizon}")
    axes.text(0.008, report.trigger.probability + 0.02, label, transform=axes.get_yaxis_transform(),
              fontsize=8, color=DANGER, va="bottom")  # fmt: skip


def _step(span: float, ticks: int) -> float:
    return next((float(step) for step in _STEPS if span / step <= ticks), float(_STEPS[-1]))


def _clock_axis(axes: Axes, first: datetime, span: float, texts: Texts, size: Size) -> None:
    step = _step(span, size.ticks)
    offset = (-first.timestamp()) % step
    ticks = [offset + step * n for n in range(int((span - offset) / step) + 1)]
    form = "%H:%M:%S" if step < 60 else "%H:%M" if span < 172_800 else "%d %b %H:%M"
    axes.set_xticks(ticks, [texts.put((first + timedelta(seconds=tick)).strftime(form)) for tick in ticks])
