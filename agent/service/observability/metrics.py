"""`/metrics` of the background agent, after Prometheus' naming rules: base units, `_total` for counters."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, Info, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.approve.proposals import open_questions
from agent.llm.record import LlmDirectory
from agent.service.due_times import Missed
from agent.service.observability import catalogue
from agent.service.observability.families import counter, gauge, gauges, histogram
from agent.service.observability.journal_counts import JournalCounts
from agent.service.observability.llm_counts import LlmCounts
from agent.service.observability.passes import PassHistory, PassLine
from agent.service.pass_result import PassResult
from agent.state.brake import tripped
from agent.state.requests import unfinished
from models.errors import LifeboatError
from models.risk.risk_level import RiskLevel
from models.risk.tier import Tier
from models.situation import Situation
from tools.ports.clock import Clock
from tools.ports.journal import Holder, Journal

_PAST = timedelta(days=1)
"""what is in the journal from this long before the start is not counted again, though the clock was set back meanwhile"""


class AgentMetrics:
    """Counts what passes come to; what stands in the journal is read when somebody scrapes."""

    def __init__(
        self,
        *,
        passes: PassHistory,
        journal: Journal,
        clock: Clock,
        seen: Callable[[], Situation | None],
        tiers: Callable[[], Mapping[str, Tier]],
        llm: LlmDirectory,
        holder: Callable[[], Holder | None],
        interval_seconds: float,
        prices: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """`tiers`: node → tier after the last look; `prices`: of a million tokens sent, and written."""
        disable_created_metrics()  # a series more for each counter, which Prometheus does not read by default
        self.registry = CollectorRegistry()
        r = self.registry
        Info(catalogue.BUILD.name, catalogue.BUILD.meaning, registry=r).info({"version": version("lifeboat")})
        ProcessCollector(registry=r)
        self._passes = counter(catalogue.PASSES, r)
        self._failures = counter(catalogue.PASS_FAILURES, r)
        self._seconds = histogram(catalogue.PASS_DURATION, r)
        self._interval_seconds = interval_seconds
        self._slow = counter(catalogue.SLOW_PASSES, r)
        self._missed = counter(catalogue.MISSED_PASSES, r)
        self._plans = counter(catalogue.PLANS, r)
        self._rules = counter(catalogue.RULE_FAILURES, r)
        self._counts = JournalCounts(r, journal, since=clock.now() - _PAST)
        self._llm_counts = LlmCounts(r, llm, clock, prices=prices)
        self._last = Gauge(catalogue.LAST_LOOK_AGE.name, catalogue.LAST_LOOK_AGE.meaning, registry=r)
        self._last.set_function(lambda: _or_never(passes.seconds_since_worked()))
        self._first = Gauge(catalogue.FIRST_LOOK.name, catalogue.FIRST_LOOK.meaning, registry=r)
        self._first.set_function(lambda: float(passes.first_look_seconds() is not None))
        r.register(_State(journal=journal, clock=clock, llm=llm, holder=holder, prices=prices, seen=seen, tiers=tiers))
        self.unusable: Callable[[], Collection[str]] = tuple[str, ...]
        unusable = Gauge(catalogue.UNUSABLE.name, catalogue.UNUSABLE.meaning, registry=r)
        unusable.set_function(lambda: len(self.unusable()))
        self._seen = seen
        self._told: tuple[Situation | None, bytes] = None, b""
        self.given_up: Callable[[], Mapping[str, int]] = dict[str, int]
        self._told_given_up: tuple[Mapping[str, int], bytes] = {}, b""

    def began(self) -> None:
        """A pass begins: what the journal holds before the first is the past."""
        with suppress(Exception):  # a journal that can't be read now is read, and said, by the pass
            self._counts.begin()

    def missed(self, missed: Missed) -> None:
        """Count due times that passed without a pass."""
        self._missed.labels("overlap").inc(missed.overlaps)
        self._missed.labels("standstill").inc(missed.standstills)

    def ended(self, result: PassResult, line: PassLine) -> None:
        """Count a pass that came to something."""
        self._took(line)
        self._of_the_look()
        if result.repeated:
            return
        if result.verdict is not None:
            self._plans.labels("passed" if result.verdict.passed else "refused").inc()
            for failure in result.verdict.failures:
                self._rules.labels(failure.rule).inc()

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
        """The exposition, as Prometheus scrapes it. Raises what reading the journal raises."""
        self._counts.read_on()
        self._llm_counts.read_on()
        return generate_latest(self.registry) + self._of_libvirt() + self._of_the_look()

    def _of_libvirt(self) -> bytes:
        counts, (before, text) = self.given_up(), self._told_given_up
        if counts != before or not text:  # a series for each node, and seldom another value
            registry = CollectorRegistry()
            registry.register(_GivenUp(counts))
            text = generate_latest(registry)
            self._told_given_up = counts, text
        return text

    def _of_the_look(self) -> bytes:
        situation = self._seen()
        told, risks = self._told
        if situation is not told:  # most of the page by far, and the same until the next look
            of_look = CollectorRegistry()
            if situation is not None:
                of_look.register(_Risks(situation))
            risks = generate_latest(of_look)
            self._told = situation, risks
        return risks


@dataclass(frozen=True, kw_only=True)
class _State(Collector):
    """What is so now, and not counted by this process: it outlives it."""

    journal: Journal
    clock: Clock
    llm: LlmDirectory
    holder: Callable[[], Holder | None]
    prices: tuple[float, float]
    seen: Callable[[], Situation | None]
    tiers: Callable[[], Mapping[str, Tier]]

    def collect(self) -> Iterable[Metric]:
        now = self.clock.now()
        questions = open_questions(self.journal, self.clock)
        yield gauge(catalogue.QUESTIONS_OPEN, len(questions))
        ages = [(now - each.question.asked_at).total_seconds() for each in questions]
        yield gauge(catalogue.OLDEST_QUESTION_AGE, max(0.0, *ages, 0.0))
        yield gauge(catalogue.EVACUATIONS_RUNNING, len(unfinished(self.journal)))
        yield gauge(catalogue.BREAKER, tripped(self.journal) is not None)
        yield gauge(catalogue.LOCKED, len(self.journal.locks()))
        tokens = self.llm.tokens(now)
        yield gauges(catalogue.TOKENS, {("prompt",): tokens.prompt, ("completion",): tokens.completion})
        yield gauge(catalogue.COST, (tokens.prompt * self.prices[0] + tokens.completion * self.prices[1]) / 1e6)
        yield gauge(catalogue.LEASE, self.holder() is not None)
        situation = self.seen()
        if situation is None:
            return
        looked = max(0.0, (now - situation.now).total_seconds())
        known = [risk.data_age_seconds for risk in situation.risks or () if risk.data_age_seconds is not None]
        if known:
            yield gauge(catalogue.OLDEST_DATA_AGE, max(known) + looked)
        if tiers := self.tiers():
            held = Count(tiers.get(node.name, Tier.WATCH) for node in situation.fleet.nodes)
            yield gauges(catalogue.TIERS, {(tier,): held[tier] for tier in Tier})


class _GivenUp(Collector):
    """Questions that nodes did not answer."""

    def __init__(self, by_node: Mapping[str, int]) -> None:
        self._by_node = by_node

    def collect(self) -> Iterable[Metric]:
        family = catalogue.GIVEN_UP
        made = CounterMetricFamily(family.name, family.meaning, labels=list(family.labels))
        for node, count in self._by_node.items():
            made.add_metric([node], count)
        yield made


class _Risks(Collector):
    """What one look saw."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation

    def collect(self) -> Iterable[Metric]:
        situation = self._situation
        levels = Count(node.level for node in situation.node_risks.values())
        yield gauges(catalogue.NODES, {(level,): levels[level] for level in RiskLevel})
        yield gauge(catalogue.MISFIT, sum(bool(risk.misfit) for risk in situation.risks or ()))
        yield gauges(
            catalogue.PROBABILITY,
            {
                (risk.node, horizon): probability
                for risk in situation.risks or ()
                for horizon, probability in risk.probability.items()
            },
        )


def _or_never(seconds: float | None) -> float:
    return float("inf") if seconds is None else seconds
