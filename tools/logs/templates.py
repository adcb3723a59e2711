"""Lines that no pattern names, counted by what they have in common: which new kind of line appears, and how often.

For people who look after the table of patterns. A template holds words of the log, so it is no more to be trusted than the log
itself, and never reaches the language model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from models.text import visible

MOST = 500
"""Templates kept; beyond it the rarest half is given up, so that rare new ones find room and frequent ones stay."""
SAMPLED_LINES = 64
"""Lines of a block that are looked at; of a longer one each counts for as many as it stands for."""
_WORDS, _LENGTH, _LINE = 12, 160, 4096
_SYSLOG = re.compile(rb"^\S+ \S+ ([^:\s\[]{1,48})(?:\[\d+\])?: ?(.*)$")
_TOKEN = re.compile(r"[^\s=,:;()\[\]{}<>\"']+")
_VARIABLE = re.compile(r".*\d.*|[0-9a-f]{6,}|/.*|[A-Za-z0-9+/]{24,}")


def template_of(message: str) -> str:
    """The message with everything that varies as `*`: what holds a digit, a path, a long hash. At most 12 words."""
    words = ["*" if _VARIABLE.fullmatch(token) else token for token in _TOKEN.findall(message[:512])[: _WORDS + 1]]
    told: list[str] = []
    for word in words[:_WORDS]:
        if not (word == "*" and told and told[-1] == "*"):
            told.append(word)
    more = " …" if len(words) > _WORDS else ""
    return visible(" ".join(told), _LENGTH) + more


class Templates:
    """How often each template came, approximately for the rare ones."""

    def __init__(self, is_known: Callable[[str, str], bool]) -> None:
        """`is_known` says of (tag, message) whether a pattern names it."""
        self._is_known = is_known
        self._counts: Counter[str] = Counter()

    def add(self, message: str, times: int = 1) -> None:
        self._counts[template_of(message)] += times
        if len(self._counts) > MOST:
            self._counts = Counter(dict(self._counts.most_common(MOST // 2)))

    def sample(self, block: bytes, lines: int) -> None:
        """Count the lines of a block that no pattern names: all of a short one, SAMPLED_LINES evenly spread of a long one."""
        if lines <= SAMPLED_LINES:
            chosen = block.split(b"\n")
        else:
            starts = (block.find(b"\n", at) + 1 for at in range(0, len(block), len(block) // SAMPLED_LINES))
            chosen = [block[start : start + _LINE].split(b"\n", 1)[0] for start in starts if start]
        for line in chosen:
            found = _SYSLOG.match(line[:_LINE])
            if found is not None:
                tag, message = (part.decode("utf-8", "replace") for part in found.groups())
                if not self._is_known(tag, message):
                    self.add(f"{tag} {message}", max(1, lines // SAMPLED_LINES))

    def top(self, count: int = 10) -> list[tuple[str, int]]:
        """The most frequent templates, with how often each came."""
        return self._counts.most_common(count)
