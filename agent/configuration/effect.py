"""When a changed setting takes effect in a background agent that runs. A command reads all of them when it starts."""

from __future__ import annotations

RELOAD = "reload"
"""SIGHUP, between two passes"""
RESTART = frozenset({"state_dir"})
"""the process's own: who else runs is told by it. A reload that changes one is refused"""
_ONLY_WHEN_MADE = {
    "archive_url": "reload; archives that are there already stay where they are",
    "archive_key_file": "reload; archives made before open only with the key of then",
    "keep.reports": "reload; what is older goes after the next pass",
    "keep.conversations": "reload; what is older goes after the next pass",
    "keep.history": "reload; what is older goes after the next pass",
}
"""what a change leaves as it was"""


def takes_effect(field: str) -> str:
    """`field`: as the reference has it, such as `nodes[].name`."""
    return "restart" if field in RESTART else _ONLY_WHEN_MADE.get(field, RELOAD)
