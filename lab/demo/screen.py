"""What a person sees while the demo runs: the nodes and their risk, every vm and its move, and what happened when."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.actions.progress import Progress
from models.evacuation import Attempt, AttemptOutcome
from models.fleet import Fleet
from models.plan import ActionKind
from models.policy.policy import TriggerPolicy
from models.risk.risk import Risk

_BAR_CELLS = 24
_LINES = 12
_VERBS = {
    ActionKind.LIVE_MIGRATE: "live →",
    ActionKind.COLD_MIGRATE: "cold →",
    ActionKind.COLD_ARCHIVE: "archive",
}


@dataclass(kw_only=True)
class _VmLine:
    name: str
    priority: str
    node: str
    doing: str = ""
    fraction: float | None = None
    style: str = ""


@dataclass
class Screen:
    """Updates in place on a terminal; elsewhere the same story as plain lines. Safe to call from several threads."""

    console: Console
    title: str
    trigger: TriggerPolicy
    _started: float = field(default_factory=time.monotonic)
    _lines: list[Text] = field(default_factory=list[Text])
    _risks: dict[str, Risk] = field(default_factory=dict[str, Risk])
    _dead: set[str] = field(default_factory=set[str])
    _vms: dict[str, _VmLine] = field(default_factory=dict[str, _VmLine])
    _mutex: threading.RLock = field(default_factory=threading.RLock)
    _live: Live | None = None

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=8, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)
            for line in self._lines:
                self.console.print(line)

    def say(self, message: str, style: str = "") -> None:
        """One line of the story, with the time since the start."""
        line = Text.assemble((f"{time.monotonic() - self._started:6.1f} s  ", "dim"), (message, style))
        with self._mutex:
            self._lines.append(line)
        if self._live is None:
            self.console.print(line, soft_wrap=True)

    def show_fleet(self, fleet: Fleet) -> None:
        with self._mutex:
            for vm in fleet.vms:
                line = self._vms.setdefault(vm.uuid, _VmLine(name=vm.name, priority=vm.priority, node=vm.node))
                line.node = vm.node

    def show_risks(self, risks: list[Risk]) -> None:
        with self._mutex:
            self._risks = {risk.node: risk for risk in risks}

    def show_progress(self, progress: Progress) -> None:
        with self._mutex:
            line = self._vms[progress.action.vm]
            verb = _VERBS.get(progress.action.kind, "")
            line.doing = f"{verb} {progress.action.target or ''} {progress.phase} {progress.detail}".strip()
            line.fraction, line.style = progress.fraction, "cyan"

    def show_attempt(self, attempt: Attempt) -> None:
        good = attempt.outcome is AttemptOutcome.DONE
        with self._mutex:
            line = self._vms[attempt.action.vm]
            line.fraction, line.style = None, "green" if good else "bold red"
            if good and attempt.action.target:
                line.node = attempt.action.target
            line.doing = _ending(attempt)
        self.say(f"{self._vms[attempt.action.vm].name}: {_ending(attempt)}", "green" if good else "bold red")

    def show_death(self, node: str) -> None:
        with self._mutex:
            self._dead.add(node)

    def _render(self) -> RenderableType:
        with self._mutex:
            return Panel(
                Group(self._nodes(), Text(), self._guests(), Text(), *self._lines[-_LINES:]),
                title=self.title,
                subtitle=f"{time.monotonic() - self._started:.0f} s",
                border_style="dim",
            )

    def _nodes(self) -> Table:
        horizon = self.trigger.horizon.total_seconds()
        table = Table(box=None, padding=(0, 1), expand=True)
        for heading in ("node", "P(fails within 2 h)", "", "strongest sign"):
            table.add_column(
                heading, header_style="dim", no_wrap=True, ratio=1 if heading == "strongest sign" else None
            )
        for name, risk in sorted(self._risks.items()):
            if name in self._dead:
                table.add_row(Text(name, "bold red"), Text("dead", "bold red"), "", "")
                continue
            p = risk.within(horizon)
            style = "bold red" if p >= self.trigger.probability else "yellow" if p >= 0.1 else "green"
            bar = Text("█" * round(p * _BAR_CELLS), style) + Text("·" * (_BAR_CELLS - round(p * _BAR_CELLS)), "dim")
            why = risk.drivers[0].why if risk.drivers else ""
            table.add_row(Text(name), bar, Text(f"{p:6.1%}", style), Text(why))
        return table

    def _guests(self) -> Table:
        table = Table(box=None, padding=(0, 1), expand=True)
        for heading in ("vm", "priority", "node", "", ""):
            table.add_column(heading, header_style="dim", no_wrap=True)
        for line in sorted(self._vms.values(), key=lambda each: each.name):
            filled = None if line.fraction is None else round(line.fraction * 12)
            bar = Text() if filled is None else Text("━" * filled, "cyan") + Text("─" * (12 - filled), "dim")
            node = Text(line.node, "dim red" if line.node in self._dead else "")
            priority = Text(line.priority, "bold" if line.priority == "high" else "dim")
            table.add_row(Text(line.name), priority, node, bar, Text(line.doing, line.style))
        return table


def _ending(attempt: Attempt) -> str:
    measured = attempt.measured
    if attempt.outcome is not AttemptOutcome.DONE:
        return f"{attempt.outcome}: {attempt.message}"
    if attempt.archive is not None:
        return f"archived and verified, {attempt.archive.stored_bytes / 1e6:.1f} MB in {measured.seconds or 0:.1f} s"
    words = [f"on {attempt.action.target} in {measured.seconds or 0:.1f} s"]
    if measured.downtime_seconds is not None:
        words.append(f"paused {measured.downtime_seconds * 1000:.0f} ms")
    if measured.blackout_seconds is not None:
        words.append(f"silent {measured.blackout_seconds * 1000:.0f} ms to its clients")
    return ", ".join(words)
