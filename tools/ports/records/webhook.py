"""Answers that came signed from another system."""

from __future__ import annotations

from tools.ports.journal import Record


class WebhookUsed(Record):
    """A signed answer arrived; the same one counts no second time."""

    KIND = "webhook-used"
    key: str
    """name of the key it was signed with"""
    signature_sha256: str
    what: str


class WebhookRefused(Record):
    """A request was not signed as it has to be; nothing was decided."""

    KIND = "webhook-refused"
    key: str
    what: str
    why: str
