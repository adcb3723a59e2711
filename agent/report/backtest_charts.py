"""The backtest page's charts: does a forecast mean what it says, what does a budget catch, what does it cost, does it drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from agent.report.drawing import ACCENT, COLD, DANGER, INK, MUTED, RULE, Texts, new_figure, to_svg
from models.forecast.trials.worth import RATIOS, Budget, Month, ReliabilityBin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLES = ((DANGER, 2.2, "-"), (ACCENT, 1.5, "-"), (COLD, 1.5, "--"), (INK, 1.1, ":"), (MUTED, 1.1, "-."))
"""colour, width and dash of the methods' lines; the first is ours"""
_HEIGHT = 3.2
_SHARES = (0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0)


def reliability_chart(curves: Mapping[str, Sequence[ReliabilityBin]]) -> str:
    """Frequency over forecast, both logarithmic; on the diagonal a forecast means what it says."""
    texts = Texts()
    figure, axes = new_figure(_HEIGHT)
    # Where nothing came there is no place on a logarithmic axis; the months below count those, too.
    told = [
        min(b.forecast, b.frequency) for bins in curves.values() for b in bins if b.forecast > 0 and b.frequency > 0
    ]
    low = float(10.0 ** np.floor(np.log10(max(min(told, default=0.01), 1e-6))))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot([low, 1.0], [low, 1.0], color=RULE, linewidth=1.0, zorder=1)
    for (name, bins), (colour, width, dash) in zip(curves.items(), _STYLES, strict=False):
        shown = [b for b in bins if b.forecast > 0 and b.frequency > 0]
        x, y = [b.forecast for b in shown], [b.frequency for b in shown]
        axes.plot(x, y, dash, color=colour, linewidth=width, marker="o", markersize=4, label=texts.put(name), zorder=3)
        if colour is DANGER:
            axes.vlines(
                x, [max(b.low, low) for b in shown], [b.high for b in shown], color=colour, linewidth=0.8, zorder=2
            )
    shares = [share for share in _SHARES if share >= low]
    labels = [texts.put(f"{100 * share:g} %") for share in shares]
    axes.set_xticks(shares, labels)
    axes.set_yticks(shares, labels)
    axes.set_xlim(low, 1.0)
    axes.set_ylim(low, 1.0)
    axes.minorticks_off()
    _finish(axes, texts, "forecast", "came")
    return to_svg(figure, texts, "reliability", "Frequency of failures over their forecast probability")


def budget_chart(curves: Mapping[str, Sequence[Budget]]) -> str:
    """Share of the failures caught over evacuations a month."""
    texts = Texts()
    figure, axes = new_figure(_HEIGHT)
    axes.set_xscale("log")
    for (name, points), (colour, width, dash) in zip(curves.items(), _STYLES, strict=False):
        x = [p.moves_a_month for p in points]
        y = [p.caught / max(p.failures, 1) for p in points]
        axes.plot(x, y, dash, color=colour, linewidth=width, marker="o", markersize=4, label=texts.put(name))
    ticks = sorted({p.moves_a_month for points in curves.values() for p in points})
    axes.set_xticks(ticks, [texts.put(f"{tick:g}") for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(
        0, min(1.02, 1.1 * max(0.1, *(p.caught / max(p.failures, 1) for points in curves.values() for p in points)))
    )
    steps = [tick for tick in axes.get_yticks() if 0 <= tick <= axes.get_ylim()[1]]
    axes.set_yticks(steps, [texts.put(f"{100 * tick:.0f} %") for tick in steps])
    _finish(axes, texts, "evacuations a month", "failures caught")
    return to_svg(figure, texts, "budget", "Share of failures caught over the evacuations a month")


def cost_chart(curves: Mapping[str, Sequence[float]]) -> str:
    """Cost over the price of a missed failure, as a share of the better of never and always acting; below 1 pays."""
    texts = Texts()
    figure, axes = new_figure(_HEIGHT)
    axes.set_xscale("log")
    axes.axhline(1.0, color=RULE, linewidth=1.0)
    for (name, costs), (colour, width, dash) in zip(curves.items(), _STYLES, strict=False):
        axes.plot(RATIOS, costs, dash, color=colour, linewidth=width, label=texts.put(name))
    axes.set_xticks([1, 10, 100, 1000], [texts.put(str(tick)) for tick in (1, 10, 100, 1000)])
    axes.minorticks_off()
    axes.set_ylim(0, min(2.0, max(1.2, *(max(costs) for costs in curves.values()))))
    steps = [0, 0.5, 1.0]
    axes.set_yticks(steps, [texts.put(f"{tick:g}") for tick in steps])
    _finish(axes, texts, "a missed failure costs so many false alarms", "cost")
    return to_svg(figure, texts, "cost", "Cost over the price of a missed failure")


def drift_chart(months: Sequence[Month]) -> str:
    """Failures forecast and come, month by month."""
    texts = Texts()
    figure, axes = new_figure(2.7)
    x = np.arange(len(months))
    axes.bar(x - 0.2, [m.expected for m in months], 0.38, color=ACCENT, label=texts.put("forecast"))
    axes.bar(x + 0.2, [m.failures for m in months], 0.38, color=DANGER, label=texts.put("came"))
    names = [datetime.fromtimestamp(m.start / 1e6, UTC).strftime("%d %b %y") for m in months]
    axes.set_xticks(x, [texts.put(name) if i % max(len(x) // 8, 1) == 0 else "" for i, name in enumerate(names)])
    steps = [tick for tick in axes.get_yticks() if tick >= 0]
    axes.set_yticks(steps, [texts.put(f"{tick:g}") for tick in steps])
    _finish(axes, texts, "", "failures")
    return to_svg(figure, texts, "drift", "Failures forecast and come, 30 days at a time")


def _finish(axes: Axes, texts: Texts, x: str, y: str) -> None:
    axes.grid(color=RULE, linewidth=0.5)
    if x:
        axes.set_xlabel(texts.put(x), color=MUTED)
    axes.set_title(texts.put(y), loc="left", fontsize=9, color=MUTED)
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8, handlelength=1.6)
    for text in legend.get_texts():
        text.set_color(INK)
    axes.figure.subplots_adjust(left=0.075, right=0.76, top=0.9, bottom=0.19)
