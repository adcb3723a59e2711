"""What is remembered of learned models: when one was challenged, and whether another took its place."""

from __future__ import annotations

from models.base import UtcTime
from tools.ports.journal import Record


class ModelChallenged(Record):
    """A model that knows more of the past was compared with the one in use."""

    KIND = "model-challenged"
    file: str
    """where the model in use lies"""
    before: str
    """the model in use, by the start of its SHA-256; empty: there was none"""
    after: str | None
    """the one that took its place; None: it stays"""
    why: str
    failures: int = 0
    """how many the two were judged on"""
    since: UtcTime | None = None
    """what came after this was known to neither; None: there was too little to compare on"""
    bits: float | None = None
    """log2 of how much likelier the challenger made what came, per failure"""
    bits_low: float | None = None
    bits_high: float | None = None
    """90 % interval, by unit"""
