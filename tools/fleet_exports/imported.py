"""What comes of somebody else's file."""

from __future__ import annotations

from dataclasses import dataclass

from models.fleet import Fleet


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A fleet from somebody else's file."""

    fleet: Fleet
    remarks: tuple[str, ...]
    """what the file does not tell, and what was taken instead; a line each"""
