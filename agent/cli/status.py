"""`lifeboat status`: evacuations so far, locked vms, and what waits for a human."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from agent.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from rich.console import Console

    from agent.state.status import Status

app = typer.Typer(rich_markup_mode=None)


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the evacuations so far, which vms are locked, and what needs a human."""
    from agent.cli.console import console, write_json
    from agent.settings import load_settings
    from agent.state.status import read_status
    from tools.journal import lease_holder, open_journal

    settings = load_settings(config)
    journal = open_journal(settings)
    status_now = read_status(journal, holder=lease_holder(settings))
    journal.close()
    if as_json:
        write_json(status_now)
    else:
        print_status(status_now, console())


def print_status(status: Status, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    if not status.evacuations:
        console.print("no evacuation was ever planned here")
    for evacuation in status.evacuations:
        progress = f"  {evacuation.over} of {evacuation.actions} actions over" if evacuation.actions else ""
        pid = f"  (pid {evacuation.worked_on_by})" if evacuation.worked_on_by is not None else ""
        console.print(
            Text.assemble((evacuation.id, "bold"), f"  {evacuation.started_at}  {evacuation.outcome}{progress}{pid}")
        )
        if evacuation.why:
            console.print(Text(f"  {evacuation.why}"))
        if evacuation.attempts:
            table = Table("vm", "how", "from → to", "outcome", "what happened", box=None, padding=(0, 1))
            for attempt in evacuation.attempts:
                where = f"{attempt.source} → {attempt.target or 'archive'}"
                mark = " (locked)" if attempt.locked else ""
                row = (attempt.vm_name or attempt.vm, attempt.kind, where, attempt.outcome + mark, attempt.message)
                table.add_row(*(Text(cell) for cell in row))
            console.print(table)
    if status.breaker is not None:
        from agent.cli.breaker import tripped_line

        line = f"The breaker {tripped_line(status.breaker)}. Look, then `lifeboat breaker reset`"
        console.print(Text(line, style="bold red"))
    for attempt in status.needs_human:
        console.print(Text(f"Needs a human: {attempt.message}", style="bold red"))
    for section in (["breaker"] if status.breaker is not None else []) + (
        ["indeterminate"] if status.needs_human else []
    ):
        console.print(Text(f"What to do, and what not: `lifeboat explain {section}`"))
