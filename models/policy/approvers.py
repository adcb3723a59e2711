"""Who may agree to a plan, as policy names them: people, groups, what each is asked about, and when it takes two."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from models.base import Value

Identity = Annotated[str, Field(pattern=r"^(terminal|slack|webhook):[^\s:/]+$", max_length=100)]
"""One way a person is known: `terminal:ana` (a login of this host), `slack:U024BE7LH` (Slack's id, which does not change
with the team it is read in, and no display name), `webhook:pager` (whoever holds that key)"""


class Occasion(StrEnum):
    """Why a node is left."""

    DRAIN = "drain"
    """its risk is worth a drain: what can move live, nobody is stopped"""
    EVACUATE = "evacuate"
    """its risk is worth an evacuation"""
    ASKED = "asked"
    """a person named it"""


class ApproverRule(Value):
    """Who may agree, for which nodes and tiers. Where several rules fit, each adds its people."""

    may: tuple[str, ...] = Field(min_length=1)
    """people or groups, from the first moment on"""
    then: tuple[str, ...] = ()
    """people or groups who may as well once half of the time to live is over: the next to be woken"""
    tiers: tuple[Occasion, ...] = tuple(Occasion)
    nodes: tuple[str, ...] = ("*",)
    """names of nodes; `*` stands for any run of characters"""


class UnansweredRule(Value):
    """Plans that go ahead when their time is over and nobody has answered. Never one that stops a guest, that takes two people,
    that a person asked for, or that nobody could have rejected."""

    tiers: tuple[Literal[Occasion.DRAIN, Occasion.EVACUATE], ...] = (Occasion.EVACUATE,)
    nodes: tuple[str, ...] = ("*",)
    """names of nodes; `*` stands for any run of characters. Each node of a plan needs a rule"""
    most_vms: int = Field(default=5, ge=1)
    """moves of such a plan"""


class TwoPeoplePolicy(Value):
    """When two different people have to agree."""

    stops_guests: bool = True
    """to a plan that stops a running guest: cold_migrate, cold_archive"""
    over_vms: int = Field(default=20, ge=0)
    """to a plan that moves more vms than this"""
    outside_slack: bool = False
    """one of the two at a terminal or by webhook: who took over a Slack account alone can't do it"""
