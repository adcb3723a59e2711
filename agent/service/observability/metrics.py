"""`/metrics` of the background agent, after Prometheus' naming rules: base units, `_total` for counters."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.approve.proposals import open_questions
from agent.llm.record import LlmDirectory
from agent.service.observability.passes import PassHistory, PassLine
from agent.service.pass_result import PassResult
from agent.state.brake import tripped
from agent.state.requests import unfinished
from models.errors import LifeboatError
from models.evacuation import AttemptOutcome
from models.plan import ActionKind
from models.risk.risk_level import RiskLevel
from models.situation import Situation
from tools.ports.clock import Clock
from tools.ports.journal import Holder, Journal

_PASS_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_PAUSE_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 120)


class AgentMetrics:
    """Counts what passes come to; what stands in the journal is read when somebody scrapes."""

    def __init__(
        self,
        *,
        passes: PassHistory,
        journal: Journal,
        clock: Clock,
        seen: Callable[[], Situation | None],
        llm: LlmDirectory,
        holder: Callable[[], Holder | None],
        interval_seconds: float,
        prices: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """`prices`: of a million tokens sent, and written."""
        disable_created_metrics()  # a series more for each counter, which Prometheus does not read by default
        self.registry = CollectorRegistry()
        r = self.registry
        Info("lifeboat_build", "Version of the agent.", registry=r).info({"version": version("lifeboat")})
        self._passes = Counter("lifeboat_passes", "Passes by what they came to.", ["outcome"], registry=r)
        self._failures = Counter("lifeboat_pass_failures", "Passes that failed, by error code.", ["code"], registry=r)
        self._seconds = Histogram(
            "lifeboat_pass_duration_seconds", "How long passes took.", buckets=_PASS_SECONDS, registry=r
        )
        self._interval_seconds = interval_seconds
        self._slow = Counter("lifeboat_slow_passes", "Passes that took longer than the interval.", registry=r)
        self._plans = Counter("lifeboat_plans", "Plans by the guard's verdict.", ["verdict"], registry=r)
        self._rules = Counter("lifeboat_rule_failures", "Plans that a rule refused, by rule.", ["rule"], registry=r)
        self._attempts = Counter(
            "lifeboat_attempts", "Moves and archives that ended, by kind and outcome.", ["kind", "outcome"], registry=r
        )
        for kind in (ActionKind.LIVE_MIGRATE, ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE):
            for outcome in AttemptOutcome:  # a series that begins at 1 has never increased, for Prometheus
                self._attempts.labels(kind, outcome)
        self._pauses = Histogram(
            "lifeboat_guest_pause_seconds",
            "How long guests stood still in live moves.",
            buckets=_PAUSE_SECONDS,
            registry=r,
        )
        self._last = Gauge("lifeboat_last_look_age_seconds", "Since the last pass that could look.", registry=r)
        self._last.set_function(lambda: _or_never(passes.seconds_since_worked()))
        r.register(_State(journal=journal, clock=clock, llm=llm, holder=holder, prices=prices))
        self._seen = seen
        self._told: tuple[Situation | None, bytes] = None, b""

    def ended(self, result: PassResult, line: PassLine) -> None:
        """Count a pass that came to something."""
        self._took(line)
        if result.repeated:
            return
        if result.verdict is not None:
            self._plans.labels("passed" if result.verdict.passed else "refused").inc()
            for failure in result.verdict.failures:
                self._rules.labels(failure.rule).inc()
        for attempt in result.evacuation.attempts if result.evacuation is not None else ():
            self._attempts.labels(attempt.action.kind, attempt.outcome or "running").inc()
            if attempt.measured.downtime_seconds is not None:
                self._pauses.observe(attempt.measured.downtime_seconds)

    def stood_by(self, line: PassLine) -> None:
        """Count a pass in which another lifeboat led."""
        self._passes.labels(line.outcome).inc()

    def failed(self, error: Exception, line: PassLine) -> None:
        """Count a pass that could not look, or broke."""
        self._took(line)
        self._failures.labels(error.code if isinstance(error, LifeboatError) else "unexpected").inc()

    def _took(self, line: PassLine) -> None:
        self._passes.labels(line.outcome).inc()
        self._seconds.observe(line.seconds)
        if line.seconds > self._interval_seconds:
            self._slow.inc()

    def text(self) -> bytes:
        """The exposition, as Prometheus scrapes it."""
        situation = self._seen()
        told, risks = self._told
        if situation is not told:  # most of the page by far, and the same until the next look
            of_look = CollectorRegistry()
            if situation is not None:
                of_look.register(_Risks(situation))
            risks = generate_latest(of_look)
            self._told = situation, risks
        return generate_latest(self.registry) + risks


@dataclass(frozen=True, kw_only=True)
class _State(Collector):
    """What is so now, and not counted by this process: it outlives it."""

    journal: Journal
    clock: Clock
    llm: LlmDirectory
    holder: Callable[[], Holder | None]
    prices: tuple[float, float]

    def collect(self) -> Iterable[Metric]:
        now = self.clock.now()
        yield _gauge(
            "lifeboat_questions_open", "Questions that wait for people.", len(open_questions(self.journal, self.clock))
        )
        yield _gauge(
            "lifeboat_evacuations_running", "Evacuations that began and have not ended.", len(unfinished(self.journal))
        )
        yield _gauge(
            "lifeboat_breaker_tripped", "1: nothing moves until a person resets it.", tripped(self.journal) is not None
        )
        yield _gauge(
            "lifeboat_locked_vms", "Vms that an attempt holds; for long: a person is needed.", len(self.journal.locks())
        )
        tokens = self.llm.tokens(now)
        used = GaugeMetricFamily(
            "lifeboat_language_model_tokens_today", "Tokens since midnight UTC.", labels=["direction"]
        )
        used.add_metric(["prompt"], tokens.prompt)
        used.add_metric(["completion"], tokens.completion)
        yield used
        cost = (tokens.prompt * self.prices[0] + tokens.completion * self.prices[1]) / 1e6
        yield _gauge("lifeboat_language_model_cost_today", "Since midnight UTC, in the money of the prices.", cost)
        yield _gauge("lifeboat_lease_held", "1: a lifeboat is carrying out an evacuation.", self.holder() is not None)


class _Risks(Collector):
    """What one look saw."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation

    def collect(self) -> Iterable[Metric]:
        yield from _risks(self._situation)


def _risks(situation: Situation) -> Iterable[Metric]:
    levels = Count(node.level for node in situation.node_risks.values())
    nodes = GaugeMetricFamily("lifeboat_nodes", "Nodes by what is known of their risk.", labels=["level"])
    for level in RiskLevel:
        nodes.add_metric([level], levels[level])
    yield nodes
    misfits = sum(bool(risk.misfit) for risk in situation.risks or ())
    yield _gauge("lifeboat_forecast_misfit_nodes", "Nodes that the learned model does not fit.", misfits)
    chance = GaugeMetricFamily(
        "lifeboat_node_failure_probability", "P(the node fails within the horizon).", labels=["node", "horizon"]
    )
    for risk in situation.risks or ():
        for horizon, probability in risk.probability.items():
            chance.add_metric([risk.node, horizon], probability)
    yield chance


def _gauge(name: str, what: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, what)
    family.add_metric([], float(value))
    return family


def _or_never(seconds: float | None) -> float:
    return float("inf") if seconds is None else seconds
