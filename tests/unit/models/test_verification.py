"""What the journal keeps of a look at everything: all that does not hold, and all that was planned for."""

from __future__ import annotations

from models.verification import Check, Verification, vm_check


def test_only_vms_of_the_plan_and_what_does_not_hold_are_told_one_by_one() -> None:
    seen = Verification(
        checks=(
            *(Check(name=vm_check(f"far-{n}"), passed=True, why="running on c") for n in range(3000)),
            Check(name=vm_check("web"), passed=True, why="running on b"),
            Check(name=vm_check("lost"), passed=False, why="nowhere"),
            Check(name=vm_check("hidden"), passed=None, why="c did not answer"),
            Check(name="archive of batch", passed=True, why="every byte matches"),
            Check(name="audit log", passed=True, why="7 records"),
        )
    )
    brief = seen.in_brief({"web"})
    assert {each.name: each.passed for each in brief.checks} == {
        "vm web": True, "vm lost": False, "vm hidden": None, "archive of batch": True, "audit log": True, "other vms": True,
    }  # fmt: skip
    assert "3000 vms" in brief.checks[-1].why
    assert not brief.passed
    assert brief.in_brief({"web"}) == brief
