"""What owners may say of their vms is policy's to limit."""

from __future__ import annotations

import pytest
from scenes.topology import Topology

from models.fleet import Priority
from models.policy.label_rights import with_label_rights
from models.policy.policy import Label, LabelPolicy

CLAIMS = {
    "priority": "high",
    "workload": "inference",
    "anti_affinity_group": "g",
    "cold_archive_allowed": True,
    "probe": "udp://10.0.0.5:7",
}


def test_labels_are_believed_in_full_by_default() -> None:
    fleet = Topology().node("a").vm("x", on="a", **CLAIMS).fleet
    assert with_label_rights(fleet, LabelPolicy()) is fleet


@pytest.mark.parametrize("label", Label)
def test_what_is_not_believed_is_as_if_it_were_not_there_and_the_rest_stays(label: Label) -> None:
    fleet = Topology().node("a").vm("x", on="a", **CLAIMS).fleet
    policy = LabelPolicy(believed=tuple(other for other in Label if other is not label))
    (vm,) = with_label_rights(fleet, policy).vms
    changed = {name for name in CLAIMS if getattr(vm, name) != getattr(fleet.vms[0], name)}
    assert len(changed) == 1
    assert vm.priority is (Priority.NORMAL if label is Label.PRIORITY else Priority.HIGH)
    if label is Label.COLD_ARCHIVE:
        assert vm.cold_archive_allowed is False, "consent that is not believed was not given"


def test_nobody_is_first_where_policy_says_so() -> None:
    fleet = Topology().node("a").vm("x", on="a", **CLAIMS).vm("y", on="a", priority="low").fleet
    limited = with_label_rights(fleet, LabelPolicy(highest_priority=Priority.NORMAL))
    assert [vm.priority for vm in limited.vms] == [Priority.NORMAL, Priority.LOW]
    assert limited.digest() != fleet.digest()
