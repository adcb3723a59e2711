"""Who else a file of an archived vm may belong to, on whatever node."""

from __future__ import annotations

from agent.actions.resources import Resources
from tools.ports.storage import Storage


def used_by_another(
    hands: Resources, node: Storage, path: str, vm: str, *, gone: frozenset[str] = frozenset()
) -> str | None:
    """Which other vm may need a file of `node`, in words; None when none does.

    A vm of another node that names the same path counts: whether that is the same file can't be told from here. The vm
    itself, back on another node, does not: a restore writes its files anew, and finds those that nodes share. Identity is
    the uuid: a vm made anew under the old name is another. Nodes that are `gone` are not asked. Raises NodeUnreachable.
    """
    users = [
        name if each.name == node.name else f"{name} on {each.name}"
        for each in (hands.nodes[known] for known in sorted(hands.nodes) if known not in gone)
        for uuid, name in sorted(each.users_of(path).items(), key=lambda user: user[1])
        if uuid != vm
    ]
    return ", ".join(users) or None
