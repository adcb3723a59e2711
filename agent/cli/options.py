"""Options that many commands share: each means the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="LIFEBOAT_CONFIG", help="Settings; default lifeboat.yaml, then /etc/lifeboat."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")]
PolicyOption = Annotated[
    Path | None, typer.Option("--policy", metavar="F", help="Policy file, in place of the settings' one.")
]
ReportOption = Annotated[
    Path | None, typer.Option("--report", metavar="R.html", help="Write the report here: a page, or Markdown as R.md.")
]
FleetOption = Annotated[
    Path | None, typer.Option("--fleet", metavar="F", help="fleet.json, in place of observing the nodes.")
]
RisksOption = Annotated[
    Path | None, typer.Option("--risks", metavar="F", help="risks.json; without it every risk is unknown.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="PLAN", help="Write the plan for `apply`.")
]
