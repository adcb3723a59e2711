"""Every command of `lifeboat`, put together. Each command's own module says what it does.

Another installed package adds commands of its own by an entry point in the group `lifeboat.commands`, whose name is the
command's and whose value is a `typer.Typer` (imported at every start, so its heavy imports belong inside its commands): the
test bench, `lifeboat lab`, comes in that way.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

import typer

from agent.cli.apply import app as apply
from agent.cli.approvals import app as approvals
from agent.cli.archive import archive
from agent.cli.assess import app as assess
from agent.cli.audit import audit
from agent.cli.breaker import breaker
from agent.cli.config import config
from agent.cli.console import note
from agent.cli.doctor import app as doctor
from agent.cli.evals import app as evals
from agent.cli.explain import app as explain
from agent.cli.fleet import app as fleet
from agent.cli.forecast import app as forecast
from agent.cli.give_back import app as give_back
from agent.cli.hindsight import hindsight
from agent.cli.history import app as history
from agent.cli.init import app as init
from agent.cli.leisure import app as leisure
from agent.cli.plan import app as plan
from agent.cli.requests import app as requests
from agent.cli.retrain import app as retrain
from agent.cli.run import app as run
from agent.cli.status import app as status
from agent.cli.vm import vm

ENTRY_POINTS = "lifeboat.commands"


def add_installed(app: typer.Typer, points: Iterable[EntryPoint]) -> None:
    """Add the commands of other packages. One that can't be loaded is left out, with a line on stderr."""
    for point in points:
        try:
            group = point.load()
            if not isinstance(group, typer.Typer):
                raise TypeError("it is not a typer.Typer")
        except Exception as error:  # a broken package must not take the other commands away
            note(f"lifeboat: the command {point.name!r} of {point.value} can't be loaded: {error}")
        else:
            app.add_typer(group, name=point.name)


app = typer.Typer(
    name="lifeboat",
    help="Get virtual machines off a server before the server dies.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (
    init,
    assess,
    fleet,
    plan,
    give_back,
    leisure,
    apply,
    run,
    approvals,
    status,
    requests,
    explain,
    evals,
    doctor,
    history,
    forecast,
    retrain,
):
    app.add_typer(group)
app.add_typer(archive, name="archive")
app.add_typer(audit, name="audit")
app.add_typer(breaker, name="breaker")
app.add_typer(config, name="config")
app.add_typer(hindsight, name="hindsight")
app.add_typer(vm, name="vm")
add_installed(app, entry_points(group=ENTRY_POINTS))
