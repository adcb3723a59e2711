"""What has changed since people were asked: whether the plan still fits, and how a new one differs. Pure."""

from __future__ import annotations

from models.fleet import Fleet
from models.plan import Action, ActionKind, Plan
from models.policy.policy import Drift
from models.proposals.states import Question
from models.text import visible


def touched_by(plan: Plan, fleet: Fleet) -> Fleet:
    """The nodes that the plan leaves or fills, with all their vms.

    Of a plan for later only the vms that move: the rest of the nodes may well change until then, and is judged at its start.
    """
    names = {*plan.evacuating, *(name for action in plan.moves for name in (action.source, action.target) if name)}
    moved = {action.vm for action in plan.moves}
    names |= {vm.node for vm in fleet.vms if vm.uuid in moved}
    return fleet.model_copy(
        update={
            "nodes": tuple(node for node in fleet.nodes if node.name in names),
            "vms": tuple(vm for vm in fleet.vms if vm.node in names and (plan.starts_at is None or vm.uuid in moved)),
        }
    )


def why_void(question: Question, fleet: Fleet, policy_sha256: str, tolerated: Drift) -> str | None:
    """Why the plan does not fit any more; None while it does."""
    if question.policy_sha256 != policy_sha256:
        return "the policy is another one than when it was asked"
    if question.plan.fleet_sha256 == fleet.digest():
        return None
    here = touched_by(question.plan, fleet)
    if tolerated is Drift.NONE or here.digest() != question.touched.digest():
        changes = fleet_changes(question.touched, here)
        return f"the fleet has changed: {'; '.join(changes[:3]) or 'on nodes that the plan does not touch'}"
    return None


def fleet_changes(before: Fleet, after: Fleet) -> list[str]:
    """What is different in two fleets, a line each, and nothing of what running guests change by themselves."""
    lines: list[str] = []
    for name in sorted(before.node_by_name.keys() | after.node_by_name.keys()):
        old, new = before.node_by_name.get(name), after.node_by_name.get(name)
        lines += _differences(f"node {visible(name, 60)}", old, new, frozenset())
    for uuid in sorted(before.vm_by_uuid.keys() | after.vm_by_uuid.keys()):
        old, new = before.vm_by_uuid.get(uuid), after.vm_by_uuid.get(uuid)
        name = (new or old).name if (new or old) is not None else uuid  # type: ignore[union-attr]
        lines += _differences(
            f"vm {visible(name, 60)}",
            old,
            new,
            frozenset({"dirty_bytes_per_second", "disk_bytes", "load_by_hour", "stop_seconds"}),
        )
    return lines


def plan_changes(before: Plan, after: Plan) -> list[str]:
    """How a new plan differs from the one before it, a line each vm."""
    old = {action.vm: action for action in before.actions}
    new = {action.vm: action for action in after.actions}
    lines: list[str] = []
    for vm in [*old, *(vm for vm in new if vm not in old)]:
        was, becomes = old.get(vm), new.get(vm)
        named = becomes or was
        assert named is not None
        name = visible(named.vm_name or vm, 60)
        if was is None and becomes is not None:
            lines.append(f"{name}: new: {_shown(becomes)}")
        elif becomes is None and was is not None:
            lines.append(f"{name}: no longer: {_shown(was)}")
        elif was is not None and becomes is not None and (was.kind, was.target) != (becomes.kind, becomes.target):
            lines.append(f"{name}: {_shown(was)} becomes {_shown(becomes)}")
    return lines


def _shown(action: Action) -> str:
    words = {ActionKind.LIVE_MIGRATE: "live", ActionKind.COLD_MIGRATE: "cold", ActionKind.COLD_ARCHIVE: "archive"}
    word = words.get(action.kind, str(action.kind))
    return f"{word} → {visible(action.target, 60)}" if action.target else word


def _differences(what: str, old: object, new: object, besides: frozenset[str]) -> list[str]:
    if old is None or new is None:
        return [f"{what} is {'new' if old is None else 'gone'}"]
    lines: list[str] = []
    for field, was in vars(old).items():
        now = getattr(new, field)
        if was != now and field not in besides and not field.startswith("_"):
            lines.append(f"{what}: {field} {visible(str(was), 40)} → {visible(str(now), 40)}")
    return lines
