"""A scene: what a planner may know of one moment, what will truly happen, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from models.base import Duration, Value
from models.knowledge import Knowledge
from models.plan import ActionKind
from models.situation import Situation

STOP_COSTS = {ActionKind.COLD_ARCHIVE: 0.1, ActionKind.COLD_MIGRATE: 0.02}
"""what a stop costs where a scene does not say, as a share of the vm's worth: an archived guest is gone until somebody restores
it, one that moves cold is back in minutes. Judgement; only scenes that say otherwise turn on it"""


class Topic(StrEnum):
    """What a scene asks of a planner."""

    CONTROL = "control"
    """nothing is to be done, and nothing may be"""
    BASICS = "basics"
    """a node to empty, and room for what is on it"""
    ROOM = "room"
    """not everything fits"""
    TIME = "time"
    """not everything can be saved in time"""
    KINDS = "kinds"
    """guests that can't move in the obvious way"""
    POLICY = "policy"
    """what the operator allows"""
    JUDGEMENT = "judgement"
    """figures alone mislead; what else is known says better"""


class Expected(Value):
    """What must be so in the end. Names of vms, except where it says nodes."""

    nothing_moves: bool = False
    leave: tuple[str, ...] = ()
    """on their way to somewhere, live or stopped"""
    live: tuple[str, ...] = ()
    cold: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    """never stopped by the plan"""
    stay: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    """nodes that take no vm"""
    apart: tuple[tuple[str, str], ...] = ()
    """not on one node in the end"""
    before: tuple[tuple[str, str], ...] = ()
    """the first is safe no later than the second"""
    more_loss_than_solver: float | None = Field(default=None, gt=0)
    """by how much the true loss may pass that of the solver's plan, as a ratio; None: by 5 %"""


class Truth(Value):
    """`truth.yaml`: what happens after the plan is made."""

    down: dict[str, Duration] = Field(default={})
    """node → when it fails or is taken out of service, from the start of the evacuation; the others live on"""
    worth: dict[str, float] = Field(default={})
    """vm → what losing it truly costs; others: their policy's weight"""
    stop_costs: dict[str, float] = Field(default={})
    """vm → what stopping it costs, as a share of its worth; others: `STOP_COSTS` of the kind of move"""
    slower: float = Field(default=1.0, gt=0)
    """how many times as long as estimated every move takes"""
    better_than_solver: bool = False
    """the true loss is to be at least a fifth below that of the solver's plan"""
    expected: Expected = Expected()

    @model_validator(mode="after")
    def _ratio_is_told_once(self) -> Self:
        if self.better_than_solver and self.expected.more_loss_than_solver is not None:
            raise ValueError("better_than_solver and more_loss_than_solver contradict each other")
        return self


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One case to be planned and scored."""

    name: str
    title: str
    topic: Topic
    difficulty: int
    """1: plain, 2: needs care, 3: hard"""
    situation: Situation
    knowledge: Knowledge
    asked: tuple[str, ...]
    truth: Truth

    @property
    def needs_action(self) -> bool:
        """Whether doing nothing, or leaving it to the solver, is no answer."""
        return not self.truth.expected.nothing_moves
