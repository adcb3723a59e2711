"""Which nodes a reader needs one by one, and which are told together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.report.report import NodeRow, Report
from models.base import parse_duration
from models.risk.risk_level import RiskLevel
from models.text import counted

MOST_NODES = 12
"""nodes told one by one, those being emptied or lost aside: they always are"""
FEW_NODES = 4
"""so few are told one by one, whoever they are"""
QUIET_NODES = 3
"""the riskiest of a fleet where nothing is wrong"""


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Nodes that need no line of their own."""

    label: str
    """`14 targets`"""
    probability: dict[str, float]
    """horizon → the highest of theirs; without those whose risk is unknown"""
    unknown: int
    """how many of them are of unknown risk"""


@dataclass(frozen=True, kw_only=True)
class RelevantNodes:
    """The nodes of a report, as a table tells them."""

    shown: tuple[NodeRow, ...]
    groups: tuple[NodeGroup, ...]
    horizons: tuple[str, ...]
    """of both, ascending"""


def relevant_nodes(report: Report) -> RelevantNodes:
    """Nodes emptied, lost, risky or unknown one by one; sound targets, and sound nodes that take no part, together."""
    targets = target_names(report)

    def rank(node: NodeRow) -> tuple[bool, bool, bool, float]:
        risk = node.at_trigger_horizon
        return (not (node.evacuating or node.lost), node.name not in targets, risk is None, -(risk or 0.0))

    ranked = sorted(report.nodes, key=rank)
    if len(ranked) <= FEW_NODES:
        shown = ranked
    else:
        must = [node for node in ranked if node.evacuating or node.lost]
        concerning = [node for node in ranked if _stands_out(node) and not (node.evacuating or node.lost)]
        concerning.sort(key=lambda node: (node.at_trigger_horizon is None, -(node.at_trigger_horizon or 0.0)))
        shown = must + concerning[:MOST_NODES] or ranked[:QUIET_NODES]
    named = {node.name for node in shown}
    taking = [node for node in ranked if node.name not in named and node.name in targets]
    others = [node for node in ranked if node.name not in named and node.name not in targets]
    groups = [_group(counted(len(taking), "target"), taking), _group(counted(len(others), "other node"), others)]
    horizons = {horizon for node in report.nodes for horizon in node.probability}
    return RelevantNodes(
        shown=tuple(shown),
        groups=tuple(group for group in groups if group is not None),
        horizons=tuple(sorted(horizons, key=lambda h: parse_duration(h).total_seconds())),
    )


def target_names(report: Report) -> frozenset[str]:
    """Nodes that vms are to move to, or were found on."""
    return frozenset(
        name for vm in report.concerned for name in (vm.target, vm.node_after) if name and name != vm.node_before
    )


def _stands_out(node: NodeRow) -> bool:
    return bool(node.unknown_why) or node.level in (RiskLevel.TRIGGERED, RiskLevel.ELEVATED)


def _group(label: str, nodes: Sequence[NodeRow]) -> NodeGroup | None:
    if not nodes:
        return None
    known = [node for node in nodes if not node.unknown_why]
    horizons = {horizon for node in known for horizon in node.probability}
    return NodeGroup(
        label=label,
        probability={h: max(node.probability.get(h, 0.0) for node in known) for h in horizons},
        unknown=len(nodes) - len(known),
    )
