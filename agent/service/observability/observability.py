"""What the background agent tells of itself, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from agent.approve.proposals import open_questions
from agent.llm.record import LlmDirectory
from agent.service.due_times import Missed
from agent.service.observability.metrics import AgentMetrics
from agent.service.observability.moves import RunningMoves
from agent.service.observability.page import render_status
from agent.service.observability.passes import PassHistory
from agent.service.observability.server import serving_status
from agent.service.pass_result import PassResult
from agent.service.scheduler import PassObserver
from agent.state.requests import unfinished
from agent.state.status import read_status
from models.risk.tier import Tier
from models.situation import Situation
from tools.ports.clock import Clock
from tools.ports.journal import Holder, Journal


class Observability(PassObserver):
    """Keeps what passes came to, and answers who asks. Safe for several threads."""

    def __init__(
        self,
        *,
        journal: Journal,
        clock: Clock,
        seen: Callable[[], Situation | None],
        tiers: Callable[[], Mapping[str, Tier]],
        holder: Callable[[], Holder | None],
        llm: Path,
        interval_seconds: float,
        prices: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """`seen`: the last look; `tiers`: node → tier after it; `holder`: the lifeboat that is at work now; `llm`: what language
        models were told and cost; `prices`: of a million tokens sent, and written."""
        self._journal, self._clock, self._seen, self._holder = journal, clock, seen, holder
        self.moves = RunningMoves(clock)
        self._began_at: datetime | None = None
        self.passes = PassHistory(clock, interval_seconds=interval_seconds)
        self.metrics = AgentMetrics(
            passes=self.passes, journal=journal, clock=clock, seen=seen, tiers=tiers, llm=LlmDirectory(llm), holder=holder,
            interval_seconds=interval_seconds, prices=prices,
        )  # fmt: skip

    def began(self) -> None:
        self.metrics.began()
        self._began_at = self._clock.now()
        self.passes.began()

    def missed(self, missed: Missed) -> None:
        self.metrics.missed(missed)

    def ended(self, result: PassResult) -> None:
        self.moves.clear()
        self.metrics.ended(result, self.passes.ended(result))

    def failed(self, error: Exception) -> None:
        self.moves.clear()
        self.metrics.failed(error, self.passes.failed(error))

    def stood_by(self) -> None:
        self.metrics.stood_by(self.passes.stood_by())

    def why_not_ready(self) -> str | None:
        """Why nobody should rely on this agent now; None when they may."""
        moving = self.passes.running_seconds() is not None and bool(unfinished(self._journal))
        return self.passes.why_not_ready(moving=moving)

    def page(self) -> str:
        """The status page."""
        return render_status(
            status=read_status(self._journal, holder=self._holder()),
            questions=open_questions(self._journal, self._clock),
            situation=self._seen(),
            passes=self.passes.lines,
            not_ready=self.why_not_ready(),
            first_look_seconds=self.passes.first_look_seconds(),
            look_seconds=self._look_seconds(),
            moves=self.moves.readings,
        )

    def _look_seconds(self) -> float | None:
        """How long the look of the pass that runs now has taken so far; None: it is over, or no pass runs."""
        seconds, situation = self.passes.running_seconds(), self._seen()
        if seconds is None or self._began_at is None or (situation is not None and situation.now >= self._began_at):
            return None
        return seconds

    def serving(self, port: int) -> AbstractContextManager[int]:
        """Answer on 127.0.0.1 for as long as the block runs. Raises BadInput when the port is taken."""
        return serving_status(
            port, metrics=self.metrics.text, page=self.page, why_not_ready=self.why_not_ready,
            first_look_seconds=self.passes.first_look_seconds,
        )  # fmt: skip
