"""Ask QEMU what keeps guests from moving live, before a plan is made for the nodes they are on."""

from __future__ import annotations

from collections.abc import Collection

from agent.actions.resources import Resources
from agent.state.refusals import StandingRefusal, of_refusal, with_refusals
from models.errors import LifeboatError
from models.fleet import Fleet, VmState
from models.plan import ActionKind
from models.planning.placement import live_blocker
from models.policy.policy import Policy
from tools.ports.records.attempts import MoveRefused


def ask_migration_blockers(hands: Resources, fleet: Fleet, nodes: Collection[str], policy: Policy) -> Fleet:
    """The fleet with what QEMU says of the guests of these nodes that nothing else is known to keep from moving live; the
    journal has it, too.

    Only once a node is about to be left: libvirt marks a guest whose QEMU was asked past it as tainted. Who does not answer in
    time says nothing.
    """
    if not policy.migration.ask_qemu:
        return fleet
    found: list[StandingRefusal] = []
    for name in nodes:
        hypervisor = hands.nodes.get(name)
        if hypervisor is None:
            continue
        asked = [
            vm for vm in fleet.vms_on(name) if vm.state is not VmState.SHUTOFF and live_blocker(vm, policy) is None
        ]
        try:
            blockers = hypervisor.migration_blockers([vm.uuid for vm in asked])
        except LifeboatError:
            continue
        for vm in asked:
            if reasons := blockers.get(vm.uuid):
                refused = MoveRefused(
                    vm=vm.uuid,
                    move=ActionKind.LIVE_MIGRATE,
                    target=None,
                    why=f"QEMU on {name} says: {'; '.join(reasons)}",
                    incarnation=vm.incarnation,
                )
                at = hands.clock.now()
                hands.journal.append(refused, now=at)
                found.append(of_refusal(refused, at))
    return with_refusals(fleet, found)
