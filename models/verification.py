"""What was looked at from outside after an evacuation, and what it showed."""

from __future__ import annotations

from models.base import Value


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
