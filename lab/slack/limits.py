"""What Slack takes and what it refuses, by its documented limits: error words and figures as its reference gives them."""

from __future__ import annotations

from typing import Any, Final

MOST_BLOCKS: Final = {"message": 50, "view": 100}
MOST_TOTAL: Final = 13_200
"""characters of all blocks of one message, about: the reference names the error and no figure"""
MOST_TEXT: Final = 40_000
_TEXTS: Final = {"header": 150, "section": 3000, "button": 75, "confirm-title": 100, "confirm-text": 300, "confirm": 30}
_VALUES: Final = {"button": 2000, "option": 150}
_BLOCKS: Final = frozenset({"header", "section", "context", "divider", "actions", "rich_text", "input", "image"})


def why_refused(content: dict[str, Any], *, surface: str = "message") -> tuple[str, list[str]] | None:
    """The error word and its details; None when it is taken."""
    blocks: list[dict[str, Any]] = content.get("blocks") or []
    if surface == "message" and not blocks and not content.get("text"):
        return "no_text", []
    if len(content.get("text") or "") > MOST_TEXT:
        return "msg_too_long", []
    word = "invalid_blocks" if surface == "message" else "invalid_arguments"
    if len(blocks) > MOST_BLOCKS[surface]:
        return word, [f"[ERROR] no more than {MOST_BLOCKS[surface]} items allowed [json-pointer:/blocks]"]
    faults = [fault for number, block in enumerate(blocks) for fault in _faults(block, f"/blocks/{number}")]
    if faults:
        return word, faults
    if surface == "message" and sum(_length(block) for block in blocks) > MOST_TOTAL:
        return "msg_blocks_too_long", []
    if surface == "view" and len(str(content.get("private_metadata") or "")) > 3000:
        return word, ["[ERROR] must be less than 3001 characters [json-pointer:/view/private_metadata]"]
    return None


def _faults(block: dict[str, Any], where: str) -> list[str]:
    kind = block.get("type")
    if kind not in _BLOCKS:
        return [f"[ERROR] unsupported type: {kind} [json-pointer:{where}/type]"]
    found: list[str] = []
    if kind in ("header", "section"):
        found += _text(block.get("text"), _TEXTS[kind], f"{where}/text", plain=kind == "header")
    if kind == "rich_text" and not block.get("elements"):
        found.append(f"[ERROR] missing required field: elements [json-pointer:{where}]")
    if kind == "actions":
        elements: list[dict[str, Any]] = block.get("elements") or []
        if not 1 <= len(elements) <= 25:
            found.append(f"[ERROR] 1 to 25 items allowed [json-pointer:{where}/elements]")
        for number, element in enumerate(elements):
            found += _element(element, f"{where}/elements/{number}")
    return found


def _element(element: dict[str, Any], where: str) -> list[str]:
    found: list[str] = []
    if element.get("type") == "button":
        found += _text(element.get("text"), _TEXTS["button"], f"{where}/text", plain=True)
        if len(element.get("value") or "") > _VALUES["button"]:
            found.append(f"[ERROR] must be less than 2001 characters [json-pointer:{where}/value]")
        if element.get("style") not in (None, "primary", "danger"):
            found.append(f"[ERROR] invalid style [json-pointer:{where}/style]")
    options: list[dict[str, Any]] = element.get("options") or []
    for number, option in enumerate(options):
        if len(option.get("value") or "") > _VALUES["option"]:
            found.append(f"[ERROR] must be less than 151 characters [json-pointer:{where}/options/{number}/value]")
    confirm = element.get("confirm")
    if confirm:
        found += _text(confirm.get("title"), _TEXTS["confirm-title"], f"{where}/confirm/title", plain=True)
        found += _text(confirm.get("text"), _TEXTS["confirm-text"], f"{where}/confirm/text")
        for button in ("confirm", "deny"):
            found += _text(confirm.get(button), _TEXTS["confirm"], f"{where}/confirm/{button}", plain=True)
    return found


def _text(text: Any, most: int, where: str, *, plain: bool = False) -> list[str]:
    if not isinstance(text, dict) or not text.get("text"):
        return [f"[ERROR] missing required field: text [json-pointer:{where}]"]
    if plain and text.get("type") != "plain_text":
        return [f"[ERROR] must be plain_text [json-pointer:{where}/type]"]
    if len(text["text"]) > most:
        return [f"[ERROR] must be less than {most + 1} characters [json-pointer:{where}/text]"]
    return []


def _length(thing: Any) -> int:
    """Characters of everything that is shown."""
    if isinstance(thing, dict):
        return sum(len(v) if k == "text" and isinstance(v, str) else _length(v) for k, v in thing.items())
    return sum(map(_length, thing)) if isinstance(thing, list) else 0
