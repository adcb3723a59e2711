"""`lifeboat history`: this fleet's own past as a dataset folder, to train on (docs/forecast.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.settings import Settings
    from models.risk.signal import Signal
    from tools.history.store import HistoryStore

app = typer.Typer(rich_markup_mode=None)


@app.command()
def history(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DATASET", help="Folder to write.")],
    config: ConfigOption = None,
    since: Annotated[str | None, typer.Option("--since", help="Leave out what came before (RFC 3339).")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Leave out what came later (RFC 3339).")] = None,
    incidents: Annotated[
        Path | None,
        typer.Option(
            "--incidents", metavar="CSV", help="Incidents people know of: node,start,end,kind (failure, maintenance)."
        ),
    ] = None,
    backfill: Annotated[
        bool,
        typer.Option(
            "--backfill", help="First read what Prometheus has, from --since on or from where the history ends."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write what this lifeboat has seen of its fleet as a dataset: telemetry, events, failures. `lifeboat run` keeps it."""
    from agent.cli.console import console, note, write_json
    from agent.observe.incidents import known_incidents
    from agent.settings import load_settings
    from models.errors import BadInput
    from models.forecast.history.lives import failures, lives, tables
    from tools.forecast.datasets import write_dataset
    from tools.history.store import HistoryStore
    from tools.signals import load_catalogue

    settings = load_settings(config)
    signals = load_catalogue(settings.signals_file)
    store = HistoryStore(settings.state_dir / "history", signals)
    if backfill:
        _backfill(settings, store, signals, since)
    known = store.read()
    if since is not None or until is not None:
        begin = known.since if since is None else _seconds(since, "--since")
        end = max(begin, known.until) if until is None else _seconds(until, "--until")
        if end < begin:
            raise BadInput(f"--until {until} is before {'the history begins' if since is None else f'--since {since}'}")
        known = known.cut(begin, end)
    if known.rows.is_empty():
        raise BadInput(
            f"{store.directory} holds nothing of that time",
            hint="`lifeboat run` fills it, an hour at a time; --since and --until may ask for less than there is",
        )
    incidents = incidents or settings.forecast.incidents
    past = known_incidents(settings, incidents)
    unmatched = sorted({node for node, _ in past.reported} - set(known.rows["unit"].unique().to_list()))
    if unmatched:
        note(f"lifeboat: {incidents}: the history has no node {unmatched[0]!r}; what failed there is left out")
    units = lives(known, past.evacuated, past.maintenance)
    written = tables(known, units, failures(known, reported=past.reported, maintenance=past.maintenance))
    write_dataset(output, written)
    counts = {
        "dataset": str(output),
        "nodes": len({life.node for life in units}),
        **{name: frame.height for name, frame in written.items()},
        "evacuations": sum(known.since <= at <= known.until for _, at in past.evacuated),
    }
    if as_json:
        write_json(counts)
        return
    console().print(
        f"wrote {output}: {counts['nodes']} nodes in {counts['units']} lives, {counts['telemetry']} rows, "
        f"{counts['events']} events, {counts['failures']} failures; "
        f"what followed {counts['evacuations']} evacuations counts as unknown",
        markup=False,
    )


def _backfill(settings: Settings, store: HistoryStore, signals: Sequence[Signal], since: str | None) -> None:
    """Fill the history from Prometheus, holding the ring's lock. Progress and broken signals go to standard error."""
    from agent.cli.console import note
    from agent.observe.history import backfill_history
    from agent.observe.sources import open_metrics
    from models.errors import BadInput
    from tools.clock import SystemClock
    from tools.history.summary_ring import SummaryRing

    prometheus = settings.prometheus
    if prometheus is None:
        raise BadInput("no telemetry is configured", hint="set `prometheus.url` in the settings")
    if since is None and not store.until:
        raise BadInput("--backfill needs --since: there is no history yet to go on from", hint="such as 90 days ago")
    begin = 0.0 if since is None else _seconds(since, "--since")
    if store.until and begin and begin < store.since:
        note("lifeboat: the history goes on from its end; what lies before its beginning can't be put in front of it")
    source = open_metrics(prometheus)
    ring = SummaryRing(settings.state_dir / "ring")  # its lock covers the history, too
    try:
        broken = backfill_history(
            store,
            source,
            signals,
            [node.name for node in settings.nodes],
            since=begin,
            now=SystemClock().now(),
            on_progress=lambda at: note(f"lifeboat: read up to {at:%Y-%m-%d %H:%M}Z"),
        )
    finally:
        ring.close()
        source.close()
    for name, error in broken.items():
        note(f"lifeboat: {name} was left out: {error}")


def _seconds(text: str, option: str) -> float:
    """A time given as an option, in unix seconds."""
    from agent.cli.forecast import time_option

    return time_option(text, option) / 1e6
