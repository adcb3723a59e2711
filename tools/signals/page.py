"""The table of shipped signals in docs/signals.md, written from the catalogue: `python -m tools.signals.page`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from models.base import format_duration
from models.risk.signal import Signal
from tools.signals import load_catalogue

START, END = "<!-- signals: begin, written by `python -m tools.signals.page` -->", "<!-- signals: end -->"
PAGE = Path(__file__).parents[2] / "docs/signals.md"


def table(signals: Iterable[Signal]) -> str:
    """One row per signal, in Markdown."""
    heads = ("signal", "from", "unit", "limits", "source of the limits", "weight", "after", "why that weight")
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for signal in signals:
        limits = signal.limits
        sides = [
            f"{word} {side:g}" for word, side in (("below", limits.low), ("above", limits.high)) if side is not None
        ]
        sides += [f"{row.low:g} to {row.high:g} at {row.nominal:g}" for row in limits.rows]
        told = (" or " if not limits.rows else ", ").join(sides) + (" off its usual" if limits.relative else "")
        told = told if sides else "none"
        delay = format_duration(signal.failure_delay) if signal.failure_delay else "at once"
        weight = f"{signal.failure_weight:g}" if sides else "—"
        if sides and signal.critical_weight is not None:
            weight += f"; critical {signal.critical_weight:g}"
            delay += f"; {format_duration(signal.critical_delay)}" if signal.critical_delay else ""
        cells = [
            f"`{signal.name}`",
            signal.exporter or "—",
            signal.unit,
            told,
            limits.source,
            weight,
            delay if sides else "—",
            signal.weight_reason,
        ]
        rows.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(rows)


def main() -> None:
    """Put the table into the page, between its two marks."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(START)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{START}\n{table(load_catalogue())}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
