"""`lifeboat`: the command line. Heavy imports live inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.errors import LifeboatError


def main() -> None:
    """Run a command. Every LifeboatError ends it with one line on stderr and the error's exit code."""
    from agent.cli.app import app
    from agent.cli.console import fail
    from models.errors import LifeboatError
    from models.extras import extra_missing

    try:
        app()
    except LifeboatError as error:
        fail(error)
    except ModuleNotFoundError as error:
        fail(extra_missing(error) or _unexpected(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output is gone; there is nobody to tell
        _leave_stdout()
        sys.exit(1)
    except Exception as error:
        fail(_known(error) or _unexpected(error))
    except BaseException as error:
        from tools.parquet import is_panic

        if not is_panic(error):  # SystemExit, and whatever else means to end the process
            raise
        fail(_unexpected(error))


def _known(error: Exception) -> LifeboatError | None:
    """What is no error of lifeboat's own, so that nothing goes on in spite of it, and still no fault."""
    from models.errors import RecordNotWritten
    from tools.ports.journal import NotWritten

    if not isinstance(error, NotWritten):
        return None
    return RecordNotWritten(str(error), hint="what it was to announce was not done")


def _unexpected(error: BaseException) -> LifeboatError:
    """One line for what nobody foresaw, and the whole story in a file to send."""
    import os
    import tempfile
    import traceback

    from models.errors import Unexpected
    from models.text import visible, without_credentials

    story = without_credentials(f"{sys.argv!r}\n{''.join(traceback.format_exception(error))}")
    try:
        file, path = tempfile.mkstemp(prefix="lifeboat-crash-", suffix=".txt")  # readable by its owner alone
        with os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace") as report:
            report.write(story)
        where = f"the report is {path}"
    except OSError:
        where = "no report could be written"
    return Unexpected(f"unexpected {type(error).__name__}: {visible(str(error), 120)}", hint=f"{where}; please send it")


def _leave_stdout() -> None:
    """Python would try to write what is left once more at its end, and complain."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
