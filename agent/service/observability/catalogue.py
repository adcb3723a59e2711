"""Every family of `/metrics`: name, kind, meaning, labels and the values they take. The page of metrics is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from agent.guard.rules import RULES
from agent.service.due_times import LATE_SECONDS
from agent.service.upkeep.archive_checks import ROUND_OUTCOMES
from agent.service.upkeep.jobs import Job, JobOutcome
from models.errors import LifeboatError
from models.evacuation import AttemptOutcome, EvacuationOutcome
from models.plan import ActionKind
from models.proposals.states import ApprovalState
from models.risk.risk_level import RiskLevel
from models.risk.tier import Tier


class Kind(StrEnum):
    """What Prometheus calls it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class Per(StrEnum):
    """A label whose values are not known beforehand."""

    NODE = "node of the fleet"
    HORIZON = "horizon of the forecast, such as `2h`"
    VERSION = "version"


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family."""

    name: str
    """without the suffix that its kind adds"""
    kind: Kind
    meaning: str
    """HELP; units are in the name"""
    labels: Mapping[str, tuple[str, ...] | Per] = field(default_factory=dict[str, tuple[str, ...] | Per])
    """label → the values it takes"""
    buckets: tuple[float, ...] = ()
    """upper bounds, of a histogram"""

    @property
    def shown(self) -> str:
        """As PromQL has it."""
        labels = f"{{{','.join(self.labels)}}}" if self.labels else ""
        return (
            f"{self.name}{'_total' if self.kind is Kind.COUNTER else '_info' if self.kind is Kind.INFO else ''}{labels}"
        )

    def series(self, nodes: int, horizons: int = 4) -> int:
        """How many there are at most, in a fleet of so many nodes."""
        many = {Per.NODE: nodes, Per.HORIZON: horizons, Per.VERSION: 1}
        combinations = 1
        for values in self.labels.values():
            combinations *= many[values] if isinstance(values, Per) else len(values)
        return combinations * (len(self.buckets) + 3 if self.kind is Kind.HISTOGRAM else 1)


def _error_codes(kind: type[LifeboatError] = LifeboatError) -> Iterator[str]:
    yield kind.code
    for each in kind.__subclasses__():
        if each.__module__ == LifeboatError.__module__:
            yield from _error_codes(each)


_MOVES = (ActionKind.LIVE_MIGRATE, ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE)
_DECIDED = (
    ApprovalState.APPROVED, ApprovalState.REJECTED, ApprovalState.EXPIRED, ApprovalState.SUPERSEDED, ApprovalState.WITHDRAWN,
)  # fmt: skip
_ENDED = tuple(outcome for outcome in EvacuationOutcome if outcome is not EvacuationOutcome.RUNNING)
OUTCOMES = (
    "quiet", "waiting", "asked", "refused", "halted", "nothing-to-move", "shadow", "evacuated", "failed", "standing-by",
)  # fmt: skip
"""of passes: a PassOutcome each; `failed`: it could not look, or broke; `standing-by`: another lifeboat led"""

BUILD = Family(name="lifeboat_build", kind=Kind.INFO, meaning="Version of the agent.", labels={"version": Per.VERSION})
PASSES = Family(
    name="lifeboat_passes", kind=Kind.COUNTER, meaning="Passes by what they came to.", labels={"outcome": OUTCOMES}
)
PASS_FAILURES = Family(
    name="lifeboat_pass_failures",
    kind=Kind.COUNTER,
    meaning="Passes that failed, by error code; unexpected: a fault in lifeboat.",
    labels={"code": tuple(sorted({"unexpected", *_error_codes()}))},
)
PASS_DURATION = Family(
    name="lifeboat_pass_duration_seconds",
    kind=Kind.HISTOGRAM,
    meaning="How long passes took, evacuations among them.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
SLOW_PASSES = Family(
    name="lifeboat_slow_passes",
    kind=Kind.COUNTER,
    meaning="Passes that took longer than the interval: the next one began late.",
)
MISSED_PASSES = Family(
    name="lifeboat_missed_passes",
    kind=Kind.COUNTER,
    meaning="Times at which a pass was due and none began; the next one stands for all of them. overlap: the pass before was "
    f"still at work; standstill: for more than {LATE_SECONDS:g} s the agent, or its host, stood still.",
    labels={"why": ("overlap", "standstill")},
)
LAST_LOOK_AGE = Family(
    name="lifeboat_last_look_age_seconds",
    kind=Kind.GAUGE,
    meaning="Since the last pass that could look; infinite before the first.",
)
FIRST_LOOK = Family(
    name="lifeboat_first_look_running",
    kind=Kind.GAUGE,
    meaning="1 while the very first look of this agent is under way and not overdue (five intervals).",
)
OLDEST_DATA_AGE = Family(
    name="lifeboat_oldest_data_age_seconds",
    kind=Kind.GAUGE,
    meaning="Age, now, of the data behind the risk of the node whose data is oldest; nodes without data are unknown instead.",
)
NODES = Family(
    name="lifeboat_nodes",
    kind=Kind.GAUGE,
    meaning="Nodes by what the last look knows of their risk.",
    labels={"level": tuple(RiskLevel)},
)
TIERS = Family(
    name="lifeboat_tier_nodes",
    kind=Kind.GAUGE,
    meaning="Nodes by the tier they are held in: what is done about their risk.",
    labels={"tier": tuple(Tier)},
)
PROBABILITY = Family(
    name="lifeboat_node_failure_probability",
    kind=Kind.GAUGE,
    meaning="P(the node fails within the horizon), as the last look has it; none for a node of which nothing is known.",
    labels={"node": Per.NODE, "horizon": Per.HORIZON},
)
MISFIT = Family(
    name="lifeboat_forecast_misfit_nodes",
    kind=Kind.GAUGE,
    meaning="Nodes that the learned model does not fit: drift.",
)
UNUSABLE = Family(
    name="lifeboat_unusable_forecasts",
    kind=Kind.GAUGE,
    meaning="Learned forecasts that the last look could not use: limits and the fleet's own past judge alone.",
)
PLANS = Family(
    name="lifeboat_plans",
    kind=Kind.COUNTER,
    meaning="Plans by the guard's verdict; what came to the same as the pass before counts once.",
    labels={"verdict": ("passed", "refused")},
)
RULE_FAILURES = Family(
    name="lifeboat_rule_failures",
    kind=Kind.COUNTER,
    meaning="Plans that a rule refused, by rule (lifeboat guard --explain RULE).",
    labels={"rule": tuple(rule.id for rule in RULES)},
)
QUESTIONS_OPEN = Family(
    name="lifeboat_questions_open",
    kind=Kind.GAUGE,
    meaning="Questions that wait for people, or were approved and wait.",
)
OLDEST_QUESTION_AGE = Family(
    name="lifeboat_oldest_question_age_seconds",
    kind=Kind.GAUGE,
    meaning="Since the oldest of the questions that are open was asked; 0: none is.",
)
QUESTIONS_DECIDED = Family(
    name="lifeboat_questions_decided",
    kind=Kind.COUNTER,
    meaning="Questions by what ended the wait for an answer.",
    labels={"outcome": _DECIDED},
)
ANSWER = Family(
    name="lifeboat_question_answer_seconds",
    kind=Kind.HISTOGRAM,
    meaning="How long people took to approve or reject.",
    buckets=(10, 30, 60, 300, 900, 1800, 3600, 14400, 86400),
)
EVACUATIONS_RUNNING = Family(
    name="lifeboat_evacuations_running", kind=Kind.GAUGE, meaning="Evacuations that began and have not ended."
)
EVACUATIONS = Family(
    name="lifeboat_evacuations",
    kind=Kind.COUNTER,
    meaning="Evacuations that ended, by outcome.",
    labels={"outcome": _ENDED},
)
ATTEMPTS = Family(
    name="lifeboat_attempts",
    kind=Kind.COUNTER,
    meaning="Moves and archives that ended, by kind and outcome; indeterminate calls a human.",
    labels={"kind": _MOVES, "outcome": tuple(AttemptOutcome)},
)
ATTEMPT_DURATION = Family(
    name="lifeboat_attempt_duration_seconds",
    kind=Kind.HISTOGRAM,
    meaning="How long moves and archives took that were done.",
    labels={"kind": _MOVES},
    buckets=(1, 3, 10, 30, 60, 300, 900, 3600, 14400),
)
PAUSE = Family(
    name="lifeboat_guest_pause_seconds",
    kind=Kind.HISTOGRAM,
    meaning="How long guests stood still in live moves, as the hypervisor says.",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 120),
)
LOCKED = Family(
    name="lifeboat_locked_vms",
    kind=Kind.GAUGE,
    meaning="Vms that an attempt holds; for long: a person is needed.",
)
BREAKER = Family(name="lifeboat_breaker_tripped", kind=Kind.GAUGE, meaning="1: nothing moves until a person resets it.")
LEASE = Family(name="lifeboat_lease_held", kind=Kind.GAUGE, meaning="1: a lifeboat is carrying out an evacuation.")
TOKENS = Family(
    name="lifeboat_language_model_tokens_today",
    kind=Kind.GAUGE,
    meaning="Tokens since midnight UTC, of all processes that share the state folder.",
    labels={"direction": ("prompt", "completion")},
)
COST = Family(
    name="lifeboat_language_model_cost_today",
    kind=Kind.GAUGE,
    meaning="Of those tokens, in the money of the prices in llm; a fallback's count at the first model's.",
)
TOKENS_USED = Family(
    name="lifeboat_language_model_tokens",
    kind=Kind.COUNTER,
    meaning="Tokens used while the agent runs, by all processes that share the state folder.",
    labels={"direction": ("prompt", "completion")},
)
COST_INCURRED = Family(
    name="lifeboat_language_model_cost",
    kind=Kind.COUNTER,
    meaning="Of those tokens, each at the price in llm when it was counted; a fallback's count at the first model's.",
)
ARCHIVES_UNSOUND = Family(
    name="lifeboat_archives_unsound",
    kind=Kind.GAUGE,
    meaning="Archives that did not verify when they were read last: they can't be restored.",
)
ARCHIVE_CHECK_AGE = Family(
    name="lifeboat_archive_check_age_seconds",
    kind=Kind.GAUGE,
    meaning="Since an archive was last read again; infinite before the first.",
)
ARCHIVE_CHECK_ROUNDS = Family(
    name="lifeboat_archive_check_rounds",
    kind=Kind.COUNTER,
    meaning="Rounds in which archives that were due were read; failed: the store did not answer; given-up: it took twelve hours; "
    "put-off: guests moved.",
    labels={"outcome": ROUND_OUTCOMES},
)
GIVEN_UP = Family(
    name="lifeboat_libvirt_questions_given_up",
    kind=Kind.COUNTER,
    meaning="Questions to a node's libvirt that got no answer in time, attempts to connect and reads of disks too.",
    labels={"node": Per.NODE},
)
JOBS_BEGUN = Family(
    name="lifeboat_jobs_begun",
    kind=Kind.COUNTER,
    meaning="What is done beside looking and acting, by how often it began.",
    labels={"kind": tuple(Job)},
)
JOBS_ENDED = Family(
    name="lifeboat_jobs_ended",
    kind=Kind.COUNTER,
    meaning="The same, by how it ended; the log line says what failed.",
    labels={"kind": tuple(Job), "outcome": tuple(JobOutcome)},
)

FAMILIES: tuple[Family, ...] = (
    PASSES, PASS_FAILURES, PASS_DURATION, SLOW_PASSES, MISSED_PASSES, LAST_LOOK_AGE, FIRST_LOOK, OLDEST_DATA_AGE, NODES, TIERS,
    PROBABILITY, MISFIT, UNUSABLE, PLANS, RULE_FAILURES, QUESTIONS_OPEN, OLDEST_QUESTION_AGE, QUESTIONS_DECIDED, ANSWER,
    EVACUATIONS_RUNNING, EVACUATIONS, ATTEMPTS, ATTEMPT_DURATION, PAUSE, LOCKED, BREAKER, LEASE, ARCHIVES_UNSOUND,
    ARCHIVE_CHECK_AGE, ARCHIVE_CHECK_ROUNDS, GIVEN_UP, JOBS_BEGUN, JOBS_ENDED, TOKENS, COST, TOKENS_USED,
    COST_INCURRED, BUILD,
)  # fmt: skip
"""in the order of the page"""
OF_THE_JOURNAL = (QUESTIONS_DECIDED, ANSWER, EVACUATIONS, ATTEMPTS, ATTEMPT_DURATION, PAUSE)
"""counted from records that were written since the agent started, whichever lifeboat of the same journal wrote them"""
