"""`lifeboat retrain`: challenge the fleet's own model now, as `lifeboat run` does by itself where `forecast.retrain` says so."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli.options import ConfigOption, JsonOption

app = typer.Typer(rich_markup_mode=None)


@app.command()
def retrain(
    config: ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare only: write no model and no record.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processor cores to use.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Train a challenger on this fleet's own history; it takes the model's place where it wins on the latest failures.

    The journal gets a record either way.
    """
    from agent.assess.retraining import retrain as challenge
    from agent.cli.console import console, write_json
    from agent.settings import load_settings
    from models.forecast.learned.train import TrainingSettings
    from tools.clock import SystemClock
    from tools.journal import open_journal

    settings = load_settings(config)
    journal = open_journal(settings)
    try:
        training = TrainingSettings(jobs=jobs)
        record = challenge(settings, journal, now=SystemClock().now(), training=training, keep=not dry_run)
    finally:
        journal.close()
    if as_json:
        write_json(record.data())
        return
    if record.after is not None:
        console().print(f"{record.file}: {record.before or 'no model'} was replaced by {record.after}", markup=False)
    console().print(record.why, markup=False, soft_wrap=True)
