"""What is configured, and by what: each field of settings or a policy with its value, its origin and its meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from agent.unknown_fields import model_inside
from models.base import format_duration
from models.text import without_credentials

HIDDEN = "(hidden)"
_SECRET = frozenset({"headers", "archive_options"})
"""mappings whose values may log in somewhere; their keys are shown"""


class Origin(StrEnum):
    """What gave a field its value."""

    FILE = "file"
    ENVIRONMENT = "environment"
    DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class ConfiguredField:
    """One field, its value safe to show."""

    name: str
    """its place, as errors name it: `nodes[0].name`"""
    value: Any
    """plain data; what logs in somewhere is hidden"""
    origin: Origin
    where: str
    """`lifeboat.yaml:4`, `LIFEBOAT_STATE_DIR`, or nothing for a default"""


@dataclass(frozen=True, kw_only=True)
class DocumentedField:
    """One field, as the reference tells it."""

    name: str
    """`prometheus.url`, `nodes[].name`"""
    default: str
    """as YAML has it; empty where it must be given"""
    meaning: str
    """its docstring, in one line"""


def configured_fields(
    content: BaseModel, *, file: Path | None, lines: Mapping[str, int], variables: Mapping[str, str] | None = None
) -> list[ConfiguredField]:
    """Each field of validated settings or a policy, in their order.

    `lines`: those of `file` (`lines_of_fields`). `variables`: the environment, where it may set fields (`LIFEBOAT_…`, with `__`
    between levels); what the file says goes before it.
    """
    by_upper = {name.upper(): name for name in variables or {}}
    told: list[ConfiguredField] = []
    for name, raw in leaves(content):
        value = _plain(raw, secret=name.rpartition(".")[2] in _SECRET)
        variable = next((by_upper[each] for each in _variables(name) if each in by_upper), None)
        if name in lines:
            origin, where = Origin.FILE, f"{file}:{lines[name]}"
        elif variable is not None:
            origin, where = Origin.ENVIRONMENT, variable
        else:
            origin, where = Origin.DEFAULT, ""
        told.append(ConfiguredField(name=name, value=value, origin=origin, where=where))
    return told


def documented_fields(model: type[BaseModel], *, prefix: str = "") -> Iterator[DocumentedField]:
    """Each field that a file of this model may hold; those of models inside it come after all of its own."""
    inside: list[tuple[type[BaseModel], str]] = []
    for name, field in model.model_fields.items():
        inner, many = model_inside(field)
        place = f"{prefix}{name}{'[]' if many else ''}"
        yield DocumentedField(name=place, default=_default(field), meaning=" ".join((field.description or "").split()))
        if inner is not None and inner is not model:  # one that falls back on another like it is told once
            inside.append((inner, f"{place}."))
    for inner, below in inside:
        yield from documented_fields(inner, prefix=below)


def leaves(value: object, place: str = "") -> Iterator[tuple[str, object]]:
    """Each field that holds no model, with its place as errors name it: `nodes[0].name`."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from leaves(getattr(value, name), f"{place}.{name}" if place else name)
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for index, item in enumerate(cast("tuple[BaseModel, ...]", value)):
            yield from leaves(item, f"{place}[{index}]")
    else:
        yield place, value


def _plain(value: object, *, secret: bool) -> Any:
    match value:
        case dict():
            pairs = cast("dict[object, object]", value).items()
            return {str(key): HIDDEN if secret else _plain(one, secret=False) for key, one in pairs}
        case tuple() | list() | set() | frozenset():
            return [_plain(one, secret=secret) for one in cast("tuple[object, ...]", value)]
        case timedelta():
            return format_duration(value)
        case BaseModel():
            return value.model_dump(mode="json")
        case None | bool() | int() | float():
            return value
        case _:
            return without_credentials(str(value))


def _variables(place: str) -> Iterator[str]:
    """Those that may set a field: its own, then those of what it is in, which hold JSON."""
    parts = place.split("[")[0].split(".")
    for end in range(len(parts), 0, -1):
        yield f"LIFEBOAT_{'__'.join(parts[:end])}".upper()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "as below"
    plain = _plain(value, secret=False)
    if plain is None:
        return "none"
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return str(plain) if plain or isinstance(plain, int | float) else {str: '""', list: "[]", dict: "{}"}[type(plain)]
