"""Plans: ordered actions on vms, and the guard's verdict on them (`plan.json`)."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from models.base import UtcTime, Value


class ActionKind(StrEnum):
    LIVE_MIGRATE = "live_migrate"
    """moves while it runs"""
    COLD_MIGRATE = "cold_migrate"
    """stopped, copied, started on the target"""
    COLD_ARCHIVE = "cold_archive"
    """stopped, copied into the archive store, verified; does not run again until restored"""
    STAY = "stay"
    """left where it is, and why"""


class Action(Value):
    """What is to happen to one vm."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)

    kind: ActionKind
    vm: str
    """uuid"""
    vm_name: str = ""
    source: str = ""
    """the node it is on when the plan is made; empty in a hand-made plan: wherever the fleet has it"""
    target: str | None = None
    """the node it goes to; None for cold_archive and stay"""
    reason: str = ""
    """one sentence a person reads"""
    wave: int = Field(default=0, ge=0)
    """actions of one wave may run together; a wave starts when every action of the wave before is over, in its lane"""
    lane: int = Field(default=0, ge=0)
    """lanes run side by side and do not wait for each other"""
    not_before: UtcTime | None = None
    """it waits for a better time: until then it is not begun; None: as soon as its turn has come"""
    estimated_start_seconds: float = Field(default=0.0, ge=0)
    """from the start of the evacuation"""
    estimated_seconds: float = Field(default=0.0, ge=0)
    """how long it takes"""
    estimated_downtime_seconds: float = Field(default=0.0, ge=0)
    """how long the vm does not answer; for cold_archive, from its stop on"""
    risk_before_safe: float = Field(default=0.0, ge=0, le=1)
    """P(the source fails before this action is done)"""

    def put_off(self) -> Action:
        """The same vm left where it is, for now."""
        when = f"until {self.not_before:%Y-%m-%d %H:%M} UTC" if self.not_before is not None else "for its turn"
        return self.model_copy(
            update={
                "kind": ActionKind.STAY,
                "target": None,
                "reason": f"waits {when}: {self.reason}",
                "estimated_start_seconds": 0.0,
                "estimated_seconds": 0.0,
                "estimated_downtime_seconds": 0.0,
            }
        )

    @model_validator(mode="after")
    def _target_fits(self) -> Self:
        moves = self.kind in (ActionKind.LIVE_MIGRATE, ActionKind.COLD_MIGRATE)
        if moves and not self.target:
            raise ValueError(f"{self.kind} of vm {self.vm} names no target")
        if not moves and self.target:
            raise ValueError(f"{self.kind} of vm {self.vm} names a target, {self.target!r}")
        return self


class OtherChoice(Value):
    """One vm for which two plans differ."""

    vm: str
    """uuid"""
    vm_name: str
    kind: ActionKind
    target: str | None
    solver_kind: ActionKind
    solver_target: str | None
    why: str
    """of who chose otherwise; empty when not told"""


class Comparison(Value):
    """A plan beside the solver's for the same task."""

    solver_expected_loss: float = Field(ge=0)
    differs: tuple[OtherChoice, ...] = ()


class PlannedBy(Value):
    """Who made a plan."""

    planner: str
    """`solver`, `llm`, or `unknown` for a plan from elsewhere"""
    fallback_reason: str | None = None
    """why the solver stood in for the language model; None when it did not"""
    model: str | None = None
    prompt_sha256: str | None = None
    """of the prompt file that helped to make it"""
    conversation_sha256: str | None = None
    """of the record of what was said with the language model (`lifeboat explain`); None where there is none"""
    notes: str = ""
    """what the planner wants the approver to read"""
    compared: Comparison | None = None
    """beside the solver's plan; None: it is the solver's, or nobody compared"""


class Survival(Value):
    """How many of the sound nodes may fail next, one of them, with room elsewhere for every running vm of theirs."""

    nodes: int = Field(ge=0)
    """sound nodes that stay"""
    not_survived: int = Field(ge=0)
    """those whose vms would not all find room"""
    such_as: tuple[str, ...] = ()
    """the first of them by name"""


class NextFailure(Value):
    """N+1 before the plan and after it."""

    before: Survival
    after: Survival


class AtLeisure(StrEnum):
    """What a plan is for that nothing forces."""

    REBALANCE = "rebalance"
    """to spread load and risk over sound nodes"""
    ARCHIVE_IDLE = "archive_idle"
    """to put idle vms of low priority into the archive"""


class Plan(Value):
    """What lifeboat proposes. Changes nothing by itself."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)

    created_at: UtcTime
    fleet_sha256: str = ""
    """`Fleet.digest()` of the snapshot it was made for; empty in a hand-made plan, which a human has to agree to"""
    evacuating: tuple[str, ...] = ()
    """nodes whose vms are to leave"""
    asked: tuple[str, ...] = ()
    """those of them that a person named, whatever their risk; a human has to agree to these"""
    returning: tuple[str, ...] = ()
    """nodes that were repaired and get their vms back because a person said so; a human has to agree. Empty while nodes are
    emptied"""
    at_leisure: AtLeisure | None = None
    """what it is for where nothing forces it; a human has to agree. None: nodes are emptied, or given their vms back"""
    actions: tuple[Action, ...]
    """in the order they start"""
    expected_loss: float = Field(default=0.0, ge=0)
    """sum over the vms on evacuating nodes of weight × P(the node fails before the vm is safe) with this plan, within the
    policy's horizon"""
    expected_loss_if_nothing_is_done: float = Field(default=0.0, ge=0)
    """the same, with every vm left where it is"""
    bound: float | None = Field(default=None, ge=0)
    """no plan for these nodes is expected to lose less than this; None: nobody worked it out"""
    gap: float | None = Field(default=None, ge=0, le=1)
    """share of `expected_loss` that lies above `bound`: what a better plan could spare at the most. 0: there is none"""
    next_failure: NextFailure | None = None
    """which next node failure the fleet would survive; None: nobody worked it out"""
    planned_by: PlannedBy = PlannedBy(planner="unknown")
    simulated: bool = False
    """True when any fact behind it was simulated"""

    def digest(self) -> str:
        """SHA-256 of the plan; with the fleet's digest inside it, this is what an approval is bound to."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def moves(self) -> tuple[Action, ...]:
        """Every action but `stay`."""
        return tuple(action for action in self.actions if action.kind is not ActionKind.STAY)

    @property
    def starts_at(self) -> datetime | None:
        """When its first move may begin; None: now, or it moves nothing."""
        starts = [action.not_before for action in self.moves]
        told = [at for at in starts if at is not None]
        return min(told) if told and len(told) == len(starts) else None

    def parts(self, now: datetime) -> tuple[Plan, ...]:
        """What is due now, and what begins together later, soonest first: a plan each, in which everything else stays for the
        time being. The plan itself where it is all of a piece."""
        by_start: dict[datetime, set[str]] = {}
        for action in self.moves:
            by_start.setdefault(max(action.not_before or now, now), set()).add(action.vm)
        if len(by_start) < 2:
            return (self,)
        return tuple(self._only(vms) for _, vms in sorted(by_start.items()))

    def _only(self, vms: set[str]) -> Plan:
        since = min(action.estimated_start_seconds for action in self.moves if action.vm in vms)
        actions = (
            action.put_off()
            if action.kind is not ActionKind.STAY and action.vm not in vms
            else action.model_copy(update={"estimated_start_seconds": action.estimated_start_seconds - since})
            if action.vm in vms
            else action
            for action in self.actions
        )
        return self.model_copy(update={"actions": tuple(actions)})


class RuleResult(Value):
    """One rule's answer."""

    rule: str
    """stable id, such as `target-memory`"""
    passed: bool
    why: str
    """what was found, with the figures"""
    invariant: int | None = None
    """the number of the invariant in the design that the rule stands for; None for policy alone"""
    vms: tuple[str, ...] = ()
    """uuids it is about; empty when it is about the whole plan"""
    judged: bool = True
    """False when the facts for it were not given (such as no risks): a human has to agree"""


class Approval(StrEnum):
    """What a plan that passed still needs."""

    NONE = "none"
    HUMAN = "human"


class Verdict(Value):
    """The guard's answer: every rule, pass or fail, and why."""

    plan_sha256: str
    passed: bool
    """True only when every rule passed"""
    approval: Approval
    """who must agree before it is carried out"""
    approval_why: str = ""
    results: tuple[RuleResult, ...]

    @property
    def failures(self) -> tuple[RuleResult, ...]:
        return tuple(result for result in self.results if not result.passed)
