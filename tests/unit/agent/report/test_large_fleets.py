"""A report of a large fleet holds who takes part, and adds up the rest."""

from __future__ import annotations

from scenes.topology import GIB, NOW, Topology, live

from agent.guard.judge import judge
from agent.report import build_report


def test_of_a_large_fleet_only_the_nodes_that_take_part_are_told_vm_by_vm() -> None:
    topology = Topology(target={"memory_headroom": 0}).node("dying", risk=0.9).vm("web", on="dying")
    for number in range(60):
        topology.node(f"spare-{number:02}", memory_bytes=1024 * GIB)
        for each in range(90):
            topology.vm(f"vm-{number:02}-{each:02}", on=f"spare-{number:02}", gib=1)
    situation = topology.situation
    plan = topology.plan_of(live("web", "dying", "spare-07"), evacuating=("dying",))
    report = build_report(situation, plan, judge(plan, situation), now=NOW)
    assert {vm.node_before for vm in report.vms} == {"dying", "spare-07"}
    assert report.vms[0].name == "web"
    used = {node.name: (node.used_before_bytes // GIB, (node.used_after_bytes or 0) // GIB) for node in report.nodes}
    assert used["dying"] == (4, 0)
    assert used["spare-07"] == (90, 94)
    assert used["spare-41"] == (90, 90)
