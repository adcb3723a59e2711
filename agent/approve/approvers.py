"""Whom a plan is put to: nobody, the person at the terminal, or one who agreed beforehand."""

from __future__ import annotations

import sys

from tools.ports.approval import ApprovalAnswer


class DenyingApprover:
    """Agrees to nothing: for a background agent with nobody to ask. What policy itself approves never gets here."""

    def ask(self, question: str) -> ApprovalAnswer:
        del question
        return ApprovalAnswer(approved=False, by="nobody was there to ask")


class TerminalApprover:
    """Asks the person at the terminal. Without a terminal the answer is no."""

    def ask(self, question: str) -> ApprovalAnswer:
        import getpass

        if not sys.stdin.isatty():
            return ApprovalAnswer(approved=False, by="no terminal to ask on")
        from rich.prompt import Confirm

        return ApprovalAnswer(approved=Confirm.ask(question, default=False), by=f"terminal:{getpass.getuser()}")


class PreapprovedBy:
    """Agrees on behalf of a named person who said so beforehand (`--yes`, the demo)."""

    def __init__(self, by: str) -> None:
        self.by = by

    def ask(self, question: str) -> ApprovalAnswer:
        del question
        return ApprovalAnswer(approved=True, by=self.by)
