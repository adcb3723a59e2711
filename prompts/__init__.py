"""Versioned prompt files. A prompt that changes gets a new file; the hash of the one used is recorded in the plan."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Prompt:
    """One prompt file as it was shipped."""

    name: str
    """such as `plan.v2`"""
    text: str
    sha256: str
    """of the file's bytes"""


@cache
def load(name: str) -> Prompt:
    """The prompt in `prompts/NAME.md`. Raises FileNotFoundError for a name that was not shipped."""
    content = files(__name__).joinpath(f"{name}.md").read_bytes()
    return Prompt(name=name, text=content.decode("utf-8"), sha256=hashlib.sha256(content).hexdigest())
