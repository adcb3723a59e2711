"""What policy says of language models. A part of `models.policy.policy`."""

from __future__ import annotations

from pydantic import Field

from models.base import Value


class LanguageModelPolicy(Value):
    """How far a language model that plans is followed."""

    max_loss_ratio: float = Field(default=1.25, ge=1.0, le=10.0)
    """its plan may be expected to lose this many times what the solver's loses; beyond, the solver's is taken"""
    read_notes: bool = False
    """let a model bring owners' notes to one closed word each; such a word takes away consent to a cold archive, and gives
    nothing"""
    read_log_lines: bool = False
    """let a model bring log lines that no pattern names to the part they tell trouble of; told to people and to the planning
    model, in no risk"""
