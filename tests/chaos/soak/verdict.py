"""What a day came to: what grew, what broke, and the table that says it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from chaos.soak.day import Found, Sample

MOST_GROWTH = 0.02
"""of the resident set, after warm-up"""
MOST_THREADS = 6
"""more than after warm-up: a look or an evacuation may be under way just then"""
MOST_HANDLES = 12


def _thirds(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Those right after warm-up (the first quarter of the day), and the last ones."""
    warm = samples[len(samples) // 4 :]
    some = max(1, len(warm) // 4)
    return warm[:some], warm[-some:]


def growth(found: Found) -> dict[str, float]:
    """From after warm-up to the end: memory as a share, threads and handles as a number."""
    early, late = _thirds(found.samples)

    def median(of: Sequence[Sample], what: str) -> float:
        return statistics.median(getattr(each, what) for each in of)

    return {
        "rss": median(late, "rss_megabytes") / median(early, "rss_megabytes") - 1,
        "threads": median(late, "threads") - median(early, "threads"),
        "handles": median(late, "handles") - median(early, "handles"),
    }


def disk_an_hour(found: Found) -> dict[str, float]:
    """Kilobytes that each part of state_dir grows in an hour of the fleet, after warm-up."""
    early, late = _thirds(found.samples)
    first, last = early[0], late[-1]
    hours = last.hour - first.hour or 1.0
    kinds = sorted({*first.disk_bytes, *last.disk_bytes})
    grown = {kind: (last.disk_bytes.get(kind, 0) - first.disk_bytes.get(kind, 0)) / hours / 1e3 for kind in kinds}
    return {**grown, "(log)": (last.log_bytes - first.log_bytes) / hours / 1e3}


def grown_objects(found: Found) -> dict[str, float]:
    """Types of which there are more at the end than after warm-up, by medians; the ten that grew most."""
    early, late = _thirds(found.samples)

    def median(of: Sequence[Sample], name: str) -> float:
        return statistics.median(each.objects.get(name, 0) for each in of)

    names = {name for each in late for name in each.objects}
    grown = {name: median(late, name) - median(early, name) for name in names}
    return {name: more for name, more in sorted(grown.items(), key=lambda each: -each[1])[:10] if more > 0}


def why_not(found: Found) -> list[str]:
    """What was not as it has to be; empty when all was."""
    wrong = list(found.broken)
    if len(found.samples) < 4:
        return [*wrong, f"only {len(found.samples)} samples: nothing can be said of what grows"]
    grew = growth(found)
    if grew["rss"] > MOST_GROWTH:
        wrong.append(f"memory grew by {100 * grew['rss']:.1f} % after warm-up")
    if grew["threads"] > MOST_THREADS:
        wrong.append(f"{grew['threads']:.0f} threads more than after warm-up")
    if grew["handles"] > MOST_HANDLES:
        wrong.append(f"{grew['handles']:.0f} file handles more than after warm-up")
    return wrong


def written(found: Found, wrong: Sequence[str]) -> str:
    """The table."""
    setup, grew = found.setup, growth(found) if len(found.samples) >= 4 else {}
    grown = ", ".join(f"{what} {100 * n:+.2f} %" if what == "rss" else f"{what} {n:+.0f}" for what, n in grew.items())
    lines = [
        f"SIMULATED: {setup.nodes} nodes, {setup.nodes * setup.guests} guests, {setup.hours:g} h of fleet time at "
        f"{setup.speed:g}×, seed {setup.seed}; {found.seconds:.0f} s, {found.cpu_seconds:.0f} s on the processor",
        "", "| hour | RSS, MB | threads | handles | state_dir, MB | log, kB |", "|---|---|---|---|---|---|",
        *(
            f"| {s.hour:.1f} | {s.rss_megabytes:.0f} | {s.threads} | {s.handles} | {sum(s.disk_bytes.values()) / 1e6:.1f} | "
            f"{s.log_bytes / 1e3:.0f} |"
            for s in found.samples
        ),
        "", f"after warm-up: {grown}",
        f"objects: {', '.join(f'{name} {more:+.0f}' for name, more in grown_objects(found).items()) if grew else ''}",
        f"disk, kB an hour: {', '.join(f'{kind} {kb:.0f}' for kind, kb in disk_an_hour(found).items()) if grew else ''}",
        f"happened: {_told(found.happened)}", f"attempts: {_told(found.attempts)}", f"evacuations: {_told(found.evacuations)}",
        f"at once, at most: {_told(found.most)}", f"looked at: {_told(found.looked_at)}",
        f"lifeboat run ended: {_told(found.ends)}",
        f"log: {_told(dict(found.said.most_common(12)))}",
        "", f"{len(wrong)} wrong" if wrong else "nothing wrong", *(f"- {each}" for each in wrong[:40]),
    ]  # fmt: skip
    return "\n".join(lines)


def _told(counts: dict[str, int]) -> str:
    return (
        ", ".join(f"{what} {count}" for what, count in sorted(counts.items(), key=lambda each: -each[1])) or "nothing"
    )
