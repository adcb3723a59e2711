"""The catalogue: which signals lifeboat reads, as data. YAML files beside this module, one or more a component.

A user's own file adds signals, changes fields of shipped ones (`name` says which) and leaves signals out:

    signals:
      - name: fan_speed_rpm
        limits: {low: 900, source: data sheet of our chassis}
    without: [inlet_temperature_celsius]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from models.errors import BadInput
from models.risk.signal import Component, Signal
from tools.input_file import read_yaml

SHIPPED = Path(__file__).parent
"""Where the shipped files lie."""


def load_catalogue(user_file: Path | None = None) -> tuple[Signal, ...]:
    """The shipped signals with the user's changes, in the order of the files.

    Raises BadInput naming the file, the signal and the field.
    """
    signals: dict[str, dict[str, Any]] = {}
    origin: dict[str, Path] = {}
    for path in sorted(SHIPPED.glob("*.yaml"), key=_order):
        content = _mapping(path)
        component = content.get("component")
        if component not in set(Component):
            raise BadInput(
                f"signals file {path}: component: expected one of {', '.join(Component)}", hint="fix the file"
            )
        for entry in _entries(content, path):
            _merge(signals, {"component": component, **entry}, path)
            origin[entry["name"]] = path
    if user_file is not None:
        content = _mapping(user_file)
        unknown = set(content) - {"signals", "without"}
        if unknown:
            raise BadInput(
                f"signals file {user_file}: {min(unknown)}: not known here", hint="it may hold `signals` and `without`"
            )
        for entry in _entries(content, user_file):
            _merge(signals, entry, user_file)
            origin[entry["name"]] = user_file
        for name in cast("list[Any]", content.get("without") or []):
            if signals.pop(name, None) is None:
                raise BadInput(f"signals file {user_file}: without: there is no signal {name!r}", hint="fix the name")
    return tuple(_signal(entry, origin[name]) for name, entry in signals.items())


def _order(path: Path) -> tuple[int, str]:
    """The components' own files in the components' order, then the others."""
    names = [component.value for component in Component]
    return (names.index(path.stem) if path.stem in names else len(names)), path.stem


def _mapping(path: Path) -> dict[str, Any]:
    content = read_yaml(path, what="signals")
    if not isinstance(content, dict):
        raise BadInput(f"signals file {path}: expected a mapping with `signals`", hint="fix the file")
    return cast("dict[str, Any]", content)


def _entries(content: Mapping[str, Any], path: Path) -> Iterable[dict[str, Any]]:
    entries: object = content.get("signals") or []
    if not isinstance(entries, list):
        raise BadInput(f"signals file {path}: signals: expected a list", hint="fix the file")
    names: set[str] = set()
    for place, entry in enumerate(cast("list[object]", entries)):
        if not isinstance(entry, dict) or not isinstance(cast("dict[str, Any]", entry).get("name"), str):
            raise BadInput(f"signals file {path}: signals.{place}: expected a mapping with a name", hint="fix the file")
        named = cast("dict[str, Any]", entry)
        if named["name"] in names:
            raise BadInput(f"signals file {path}: signal {named['name']!r} appears twice", hint="leave one out")
        names.add(named["name"])
        yield named


def _merge(signals: dict[str, dict[str, Any]], entry: dict[str, Any], path: Path) -> None:
    """Put a new signal in, or the given fields over a known one's; limits side by side."""
    known = signals.get(entry["name"], {})
    merged = known | entry
    if isinstance(entry.get("limits"), dict) and "limits" in known:
        merged["limits"] = known["limits"] | entry["limits"]
    elif entry.get("limits", {}) is None:
        raise BadInput(f"signals file {path}: signal {entry['name']}: limits: expected a mapping", hint="fix the file")
    signals[entry["name"]] = merged


def _signal(entry: dict[str, Any], path: Path) -> Signal:
    try:
        return Signal.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "(whole)"
        found = "" if first["type"] == "missing" else f" (found {str(first['input'])[:60]!r})"
        raise BadInput(
            f"signals file {path}: signal {entry['name']}: {where}: {first['msg']}{found}", hint="fix the file"
        ) from error
