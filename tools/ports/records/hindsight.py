"""What was seen of nodes and said of their risks, what came of decisions, and what shadow mode would have done."""

from __future__ import annotations

from models.hindsight.look_back import Decision, Hindsight
from models.plan import Plan, Verdict
from models.risk.risk import Risk
from tools.ports.journal import Record


class NodesSeen(Record):
    """The agent looked: written when other nodes are silent than before, and once an hour."""

    KIND = "nodes-seen"
    nodes: int
    """how many the fleet has"""
    silent: tuple[str, ...]
    """those that did not answer"""


class RisksNoted(Record):
    """P(fails within `models.hindsight.look_back.WINDOW`) of every node, once in that time."""

    KIND = "risks-noted"
    probability: dict[str, float]
    """node → probability, of those that matter"""
    others: int
    """how many more nodes there are whose risk is known"""
    others_mean: float
    """their mean probability"""


class DecisionScored(Record):
    """What came of one decision about one node, once."""

    KIND = "hindsight"
    decision: Decision
    hindsight: Hindsight
    why: str


class DecisionCorrected(Record):
    """A person says what came of it: their word counts."""

    KIND = "hindsight-corrected"
    decision: str
    """the evacuation's id"""
    node: str
    hindsight: Hindsight
    by: str
    why: str


class ShadowDecided(Record):
    """What would have been done, had policy let lifeboat act."""

    KIND = "shadow-decided"
    plan: Plan
    verdict: Verdict
    risks: tuple[Risk, ...]
    """of the nodes that it would have left"""
