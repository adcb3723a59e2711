"""Files that people and other programs write: read whole, in bounded size and time, or refused in one line.

Nothing here knows what a file means; that is for whoever validates the content.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from models.errors import BadInput

MOST_JSON_BYTES = 1 << 29
"""512 MiB; a fleet of 190,000 vms is about 100 MB"""
MOST_YAML_BYTES = 1 << 22
"""4 MiB; settings of 10,000 nodes are about 2 MB"""
MOST_DEPTH = 60
"""mappings and lists inside each other; lifeboat's own files need 6"""
MOST_NODES = 1_000_000
"""values in a YAML file once its aliases are written out: a few lines of aliases of aliases would fill memory"""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, where PyYAML was built with it: it reads ten times faster"""
_HALF_A_PAIR = re.compile(r"\\u[dD][89abAB]")


def read_json(path: Path, *, what: str, error: type[BadInput] = BadInput) -> object:
    """The content of a JSON file. Raises `error` for repeated fields and half characters.

    NaN and Infinity come through: whoever validates the content can name the field.
    """
    text = _read_text(path, what, error, MOST_JSON_BYTES)
    try:
        content = json.loads(text, object_pairs_hook=_no_repeats)
        if _HALF_A_PAIR.search(text):
            _no_half_characters(content)
    except (ValueError, RecursionError) as why:
        raise error(f"{what} file {path} is not JSON: {one_line(why)}", hint="fix the file") from why
    return content


def read_yaml(path: Path, *, what: str, error: type[BadInput] = BadInput) -> object:
    """The content of a YAML (or JSON) file; None for an empty one. Raises `error`.

    Repeated keys, endless or explosive aliases and more than MOST_DEPTH levels are refused before anything is built.
    """
    text = _read_text(path, what, error, MOST_YAML_BYTES)
    try:
        _check_structure(text)
        content: object = yaml.load(text, _LOADER)  # noqa: S506 — a safe one, either way
        if _HALF_A_PAIR.search(text):
            _no_half_characters(content)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as why:
        raise error(f"{what} file {path} is not YAML: {one_line(why)}", hint="fix the file") from why
    return content


def read_yaml_mapping(path: Path, *, what: str, error: type[BadInput] = BadInput) -> dict[str, Any]:
    """As `read_yaml`, for a file whose top is a mapping with text keys; an empty file is an empty mapping."""
    content = read_yaml(path, what=what, error=error)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise error(f"{what} file {path}: expected a mapping, found {kind_of(content)}", hint="fix the file")
    fields = cast("dict[object, Any]", content)
    for key in fields:  # None may be one
        if not isinstance(key, str):
            raise error(f"{what} file {path}: expected text as a key, found {str(key)[:60]!r}", hint="fix the file")
    return cast("dict[str, Any]", content)


def lines_of_fields(path: Path, *, what: str, error: type[BadInput] = BadInput) -> dict[str, int]:
    """The line, from 1, that gives each field of a YAML file: `nodes[0].name` → 4; of an alias, where its anchor is.

    Raises `error` as `read_yaml` does, so that aliases are few enough to follow.
    """
    text = _read_text(path, what, error, MOST_YAML_BYTES)
    try:
        _check_structure(text)
        root = yaml.compose(text, _LOADER)
    except (yaml.YAMLError, ValueError, RecursionError) as why:
        raise error(f"{what} file {path} is not YAML: {one_line(why)}", hint="fix the file") from why
    lines = dict[str, int]()
    left: list[tuple[str, Any]] = [("", root)]
    while left:
        place, node = left.pop()
        if isinstance(node, yaml.SequenceNode):
            items = [(f"{place}[{index}]", value, value) for index, value in enumerate(cast("list[Any]", node.value))]
        elif isinstance(node, yaml.MappingNode):
            pairs = cast("list[tuple[Any, Any]]", node.value)
            left += [(place, value) for key, value in pairs if key.value == "<<"]
            items = [(f"{place}.{key.value}" if place else str(key.value), key, value) for key, value in pairs]
        else:
            continue
        for name, start, value in items:
            lines.setdefault(name, start.start_mark.line + 1)
            left.append((name, value))
    return lines


def kind_of(content: object) -> str:
    """What a person calls it: `a mapping`, `a list`, `text` …"""
    match content:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return "text"
        case bool():
            return "true or false"
        case _:
            return "a number"


def one_line(error: Exception) -> str:
    """An error's own words, in one line of at most 160 characters."""
    if isinstance(error, RecursionError):
        return "too many levels inside each other"
    return " ".join(str(error).split())[:160]


def _read_text(path: Path, what: str, error: type[BadInput], most: int) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as why:
        raise error(f"{what} file {path}: {why.strerror or why}", hint="give the path of a readable file") from why
    if len(content) > most:
        raise error(f"{what} file {path} is larger than {most >> 20} MiB", hint="give the right file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        raise error(f"{what} file {path} is not UTF-8 text", hint="fix the file") from why


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"field {name[:60]!r} appears twice in one mapping")
    return content


def _no_half_characters(content: object) -> None:
    """Raises ValueError for text with half of a UTF-16 pair: it can be neither printed, hashed nor written again."""
    left = [content]
    while left:
        item = left.pop()
        if isinstance(item, str):
            if any("\ud800" <= character <= "\udfff" for character in item):
                raise ValueError(f"half a character in {item[:40]!r}")
        elif isinstance(item, dict):
            left += [part for pair in cast("dict[object, object]", item).items() for part in pair]
        elif isinstance(item, list):
            left += cast("list[object]", item)


@dataclass
class _Open:
    """A mapping or list whose end has not come yet."""

    anchor: str | None
    keys: set[str] | None = None
    """of a mapping"""
    expects_key: bool = True
    nodes: int = 1
    """values in it so far, aliases written out"""


def _check_structure(text: str) -> None:
    """Raises ValueError, before anything is built, for what a loader would take without end or without a word."""
    stack = [_Open(None)]
    sizes: dict[str, int] = {}

    def add(nodes: int, key: str | None, line: int) -> None:
        parent = stack[-1]
        parent.nodes += nodes
        if parent.nodes > MOST_NODES:
            raise ValueError(f"line {line + 1}: more than {MOST_NODES} values")
        if parent.keys is None:
            return
        if parent.expects_key and key is not None:
            if key in parent.keys and key != "<<":
                raise ValueError(f"line {line + 1}: field {key[:60]!r} appears twice in one mapping")
            parent.keys.add(key)
        parent.expects_key = not parent.expects_key

    for event in yaml.parse(text, _LOADER):
        line = event.start_mark.line if event.start_mark else 0
        match event:
            case yaml.ScalarEvent():
                add(1, event.value, line)
                if event.anchor:
                    sizes[event.anchor] = 1
            case yaml.AliasEvent():
                anchor = event.anchor or ""
                if any(one.anchor == anchor for one in stack):
                    raise ValueError(f"line {line + 1}: alias *{anchor[:40]} holds itself")
                add(sizes.get(anchor, 1), None, line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if len(stack) > MOST_DEPTH:
                    raise ValueError(f"line {line + 1}: more than {MOST_DEPTH} levels inside each other")
                keys = set[str]() if isinstance(event, yaml.MappingStartEvent) else None
                stack.append(_Open(event.anchor, keys))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                ended = stack.pop()
                if ended.anchor:
                    sizes[ended.anchor] = ended.nodes
                add(ended.nodes, None, line)
            case _:
                pass
