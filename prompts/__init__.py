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
    """such as `plan.v3`"""
    version: int
    purpose: str
    assumes: str
    """what it may take for granted of the messages that follow it"""
    text: str
    """what is sent: the file without its head"""
    sha256: str
    """of the file's bytes"""


@cache
def load(name: str) -> Prompt:
    """The prompt in `prompts/NAME.md`. Raises FileNotFoundError for a name that was not shipped.

    A file begins with a head between two lines of `---`: version, purpose, assumes.
    """
    content = files(__name__).joinpath(f"{name}.md").read_bytes()
    _, head, text = content.decode("utf-8").split("---\n", 2)
    told = dict(line.split(": ", 1) for line in head.strip().splitlines())
    return Prompt(
        name=name,
        version=int(told["version"]),
        purpose=told["purpose"],
        assumes=told["assumes"],
        text=text,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def shipped() -> tuple[str, ...]:
    """Names of all prompts."""
    return tuple(
        sorted(file.name.removesuffix(".md") for file in files(__name__).iterdir() if file.name.endswith(".md"))
    )
