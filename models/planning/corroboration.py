"""Whether enough speaks against a node that its guests may be stopped. Pure.

What moves live costs little when the alarm was false, or forged; what is stopped does not run. So one way by which word of a
fault comes is enough to move guests live, and not to stop one: that takes as many as policy says, or a person.
"""

from __future__ import annotations

from models.fleet import VmState
from models.plan import ActionKind
from models.planning.schedule import Move
from models.policy.policy import Policy
from models.risk.risk_level import NodeRisk
from models.risk.witness import Witness
from models.text import counted

FIELD = "stopping.witnesses"
"""of policy"""


def witnesses_against(node_risk: NodeRisk, policy: Policy) -> tuple[Witness, ...] | None:
    """Those of whom each alone would keep vms away from the node: by its word P(fails within the trigger's horizon) is over
    `target.max_probability`. None: the risk does not tell, as in files from elsewhere."""
    risk = node_risk.usable_risk
    if risk is None or risk.witnesses is None:
        return None
    horizon = policy.trigger.horizon.total_seconds()
    return tuple(one for one in risk.witnesses if risk.witness_within(one, horizon) > policy.target.max_probability)


def why_uncorroborated(node_risk: NodeRisk, policy: Policy) -> str | None:
    """Why no guest of the node is stopped without a person; None when enough speaks against it, or nobody can tell."""
    against = witnesses_against(node_risk, policy)
    needed = policy.stopping.witnesses
    if against is None or len(against) >= needed:
        return None
    who = " and ".join(against) or "a learned forecast"
    return f"only {who} speaks against {node_risk.node}, policy wants {counted(needed, 'witness', 'witnesses')}"


def stops(move: Move) -> bool:
    """Whether a move stops a guest that runs."""
    return move.kind is not ActionKind.LIVE_MIGRATE and move.vm.state is not VmState.SHUTOFF
