"""What a person sees while `lifeboat apply` works, on stderr: a line for each vm under way, and what has ended."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from agent.actions.progress import Progress
from agent.cli.terminal.visible_console import VisibleConsole
from agent.execute.evacuation import Watcher
from models.evacuation import Attempt, AttemptOutcome
from models.plan import ActionKind
from models.text import visible

_BAR_CELLS = 12
_QUIET_SECONDS = 10.0
"""without a terminal, the figures of a copy are printed this often"""
_VERBS = {ActionKind.LIVE_MIGRATE: "live → ", ActionKind.COLD_MIGRATE: "cold → ", ActionKind.COLD_ARCHIVE: "archive"}


class ProgressLines:
    """Updates in place on a terminal; elsewhere one line when a phase begins, and the figures of a copy now and then.

    Safe to call from several threads. The terminal is free again whenever nothing is under way.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or VisibleConsole(highlight=False, stderr=True)
        self._mutex = threading.RLock()
        self._under_way: dict[str, Progress] = {}
        self._shown: tuple[Progress, ...] = ()
        """what is drawn: never changed in place, so that the thread that draws needs no lock"""
        self._printed: dict[str, tuple[str, float]] = {}
        """attempt → the phase printed last, and when; only without a terminal"""
        self._live: Live | None = None

    def watcher(self) -> Watcher:
        return Watcher(
            on_progress=self.show_progress, on_attempt_finished=self.show_result, on_message=self.show_message
        )

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._mutex:
            self._under_way.clear()
            self._shown = ()
        self._stop()

    def show_progress(self, progress: Progress) -> None:
        with self._mutex:
            self._under_way[progress.attempt] = progress
            self._shown = tuple(self._under_way.values())
            if self.console.is_terminal:
                if self._live is None:
                    self._live = Live(
                        get_renderable=self._lines, console=self.console, refresh_per_second=4, transient=True
                    )
                    self._live.start()
                return
            phase, at = self._printed.get(progress.attempt, ("", 0.0))
            now = time.monotonic()
            if phase == progress.phase and (progress.copy is None or now - at < _QUIET_SECONDS):
                return
            self._printed[progress.attempt] = progress.phase, now
            self._print(line_of(progress))

    def show_result(self, attempt: Attempt) -> None:
        with self._mutex:
            self._under_way.pop(attempt.id, None)
            self._shown = tuple(self._under_way.values())
            done = attempt.outcome is AttemptOutcome.DONE
            self._print(
                Text(
                    f"{attempt.id}: {attempt.outcome}: {visible(attempt.message, 400)}", "green" if done else "bold red"
                )
            )
            over = not self._under_way
        if over:
            self._stop()

    def show_message(self, line: str) -> None:
        self._print(Text(visible(line, 400), "yellow"))

    def _print(self, line: Text) -> None:
        self.console.print(line, soft_wrap=True)

    def _lines(self) -> RenderableType:
        lines = [line_of(progress, bar=True) for progress in self._shown]
        for line in lines:
            line.truncate(self.console.width, overflow="ellipsis")
        return Group(*lines)

    def _stop(self) -> None:
        with self._mutex:
            live, self._live = self._live, None
        if live is not None:
            live.stop()


def line_of(progress: Progress, *, bar: bool = False) -> Text:
    """One vm: what is done with it, how far that is, and for a copy what is left, how fast, which round, how long yet."""
    action = progress.action
    move = f"{visible(action.vm_name or action.vm, 40)}  {_VERBS.get(action.kind, action.kind)}{action.target or ''}"
    line = Text(f"{move}  {progress.phase}")
    if progress.fraction is not None:
        filled = round(progress.fraction * _BAR_CELLS)
        if bar:
            line.append("  " + "━" * filled, "cyan").append("─" * (_BAR_CELLS - filled), "dim")
        line.append(f"  {progress.fraction:.0%}")
    if progress.detail:
        line.append(f"  {visible(progress.detail, 200)}", "dim")
    return line
