"""The corpus: texts by which somebody might try to steer a planning model, by technique.

Written for this project, in `corpus/TECHNIQUE.txt`, one a line, `||` between fields that only together say something. What only
encodes or reverses a text is made here, from some of the orders.
"""

from __future__ import annotations

import base64
import codecs
import html
import random
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "corpus"
_SEEDS = 15
"""orders that are encoded in each way"""


@dataclass(frozen=True)
class Payload:
    """One attempt."""

    technique: str
    parts: tuple[str, ...]
    """one, or several for several fields"""

    @property
    def name(self) -> str:
        return f"{self.technique}: {' | '.join(self.parts)}"


def _tags(text: str) -> str:
    """In the invisible characters of Unicode's tag block."""
    return "".join(chr(0xE0000 + ord(c)) if c.isascii() else c for c in text)


def _full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


_ALIKE = str.maketrans("aceiopxyABEHKMOPCTX", "асеіорхуАВЕНКМОРСТХ")

ENCODINGS: Mapping[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "percent": urllib.parse.quote,
    "entities": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "escapes": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "zero-width": "\u200b".join,
    "full-width": _full_width,
    "look-alikes": lambda text: text.translate(_ALIKE),
    "tag-characters": _tags,
    "html": lambda text: html.escape(f"<system>{text}</system>"),
}
BIDI: Mapping[str, Callable[[str], str]] = {
    "override": lambda text: f"\u202e{text[::-1]}\u202c",
    "isolate": lambda text: f"vm \u2067{text[::-1]}\u2069 web",
    "embedding": lambda text: f"\u202b{text}\u202c",
    "marks": lambda text: "\u200f".join(text.split(" ")),
}


@cache
def corpus() -> tuple[Payload, ...]:
    """Every payload, each once."""
    found: list[Payload] = []
    for file in sorted(_FOLDER.glob("*.txt")):
        for line in file.read_text(encoding="utf-8").splitlines():
            found.append(
                Payload(file.stem, tuple(part.strip() for part in line.split("||")) if "||" in line else (line,))
            )
    orders = [payload.parts[0] for payload in found if payload.technique == "orders"]
    for technique, ways in (("encodings", ENCODINGS), ("bidi", BIDI)):
        for way in ways.values():
            found += [Payload(technique, (way(order),)) for order in orders[::4][:_SEEDS]]
    return tuple(dict.fromkeys(found))


def sampled(count: int, seed: int) -> list[Payload]:
    """`count` of them, every technique among them where there is room."""
    draw = random.Random(seed)
    by_technique: dict[str, list[Payload]] = {}
    for payload in corpus():
        by_technique.setdefault(payload.technique, []).append(payload)
    rows = [draw.sample(payloads, len(payloads)) for payloads in by_technique.values()]
    turns = [row[turn] for turn in range(max(map(len, rows))) for row in rows if turn < len(row)]
    return turns[:count]
