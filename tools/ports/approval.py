"""Whoever agrees to a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Approver(Protocol):
    """Whoever agrees to a plan."""

    def ask(self, question: str) -> ApprovalAnswer: ...


@dataclass(frozen=True)
class ApprovalAnswer:
    approved: bool
    by: str
    """who answered: a user id, or `policy`"""
