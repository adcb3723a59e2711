"""What was looked at from outside after an evacuation, and what it showed."""

from __future__ import annotations

from collections.abc import Collection

from models.base import Value
from models.text import counted


class Check(Value):
    """One thing that was looked at after the evacuation."""

    name: str
    passed: bool | None
    """None: it could not be looked at"""
    why: str


class Verification(Value):
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed is True for check in self.checks)

    def in_brief(self, vms: Collection[str]) -> Verification:
        """Without those that hold of any vm but these (names), which are counted in a check of their own: a large fleet's are
        thousands."""
        named = {vm_check(name) for name in vms}
        others = [each for each in self.checks if each.passed and each.name.startswith(_VM) and each.name not in named]
        if not others:
            return self
        left_out = {each.name for each in others}
        why = f"{counted(len(others), 'vm')} that no action was planned for: none runs twice, and none is gone"
        count = Check(name="other vms", passed=True, why=why)
        return Verification(checks=(*(each for each in self.checks if each.name not in left_out), count))


_VM = "vm "


def vm_check(name: str) -> str:
    """How the check of the vm of that name is called."""
    return f"{_VM}{name}"
