"""Every command of `lifeboat`, put together. Each group's own module says what its commands do."""

from __future__ import annotations

import typer

from agent.cli.apply import app as act
from agent.cli.archive import archive, audit
from agent.cli.assess import app as assess
from agent.cli.doctor import app as doctor
from agent.cli.forecast import app as forecast
from agent.cli.history import app as history
from agent.cli.plan import app as plan
from agent.cli.requests import app as steer

app = typer.Typer(
    name="lifeboat",
    help="Gets virtual machines off a server before the server dies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (assess, plan, act, steer, doctor, history, forecast):
    app.add_typer(group)
app.add_typer(archive, name="archive")
app.add_typer(audit, name="audit")


@app.command(
    "lab", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def lab(context: typer.Context) -> None:
    """The test bench: three real libvirt nodes with simulated hardware on this machine."""
    from lab.cli import app as lab_app

    lab_app(args=context.args, prog_name="lifeboat lab")
