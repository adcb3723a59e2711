"""`lifeboat`: the command line. Heavy imports live inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import sys


def main() -> None:
    """Run a command. Every LifeboatError ends it with one line on stderr and the error's exit code."""
    from agent.cli.app import app
    from agent.cli.console import fail
    from models.errors import BadInput, LifeboatError

    try:
        app()
    except LifeboatError as error:
        fail(error)
    except ModuleNotFoundError as error:
        if error.name != "libvirt":
            raise
        fail(
            BadInput(
                "libvirt's Python binding is not installed",
                hint="install libvirt-dev and gcc, then run ./dev again; files and simulated nodes work without it",
            )
        )
    except KeyboardInterrupt:
        sys.exit(130)
