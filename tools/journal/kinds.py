"""From a kind's name and its JSON to a record, and never an exception: what is not understood is kept as it is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from models.errors import JournalInvalid
from tools.ports.journal import R, Record, UnknownRecord
from tools.ports.records import (
    approvals,
    attempts,
    brake,
    chat,
    cold,
    disks,
    evacuations,
    forecasts,
    hindsight,
    migration,
    nodes,
    webhook,
)

_SUBJECTS: tuple[ModuleType, ...] = (
    approvals,
    attempts,
    brake,
    chat,
    cold,
    disks,
    evacuations,
    forecasts,
    hindsight,
    migration,
    nodes,
    webhook,
)


@cache
def known_kinds() -> dict[str, type[Record]]:
    """Every kind of this version, by its name on disk."""
    return {kind.KIND: kind for subject in _SUBJECTS for kind in _kinds_in(subject)}


def decode(name: str, data: dict[str, Any]) -> Record:
    """The record; UnknownRecord for a kind of a newer version, and for one whose fields this version can't read."""
    kind = known_kinds().get(name)
    if kind is None:
        return UnknownRecord(name=name, content=data, why=f"a kind that this version does not know: {name}")
    try:
        return kind.read(data)
    except ValidationError as error:
        return UnknownRecord(name=name, content=data, why=_first_fault(error))


def decode_as(kind: type[R], data: dict[str, Any], where: str) -> R:
    """The record of a kind that something is decided by. Raises JournalInvalid, naming `where` it is, when it can't be
    read."""
    try:
        return kind.read(data)
    except ValidationError as error:
        raise JournalInvalid(
            f"{where} ({kind.KIND}) can't be read: {_first_fault(error)}",
            hint="a newer lifeboat may have written it: use that version here; nothing is decided without it",
        ) from error


def _kinds_in(subject: ModuleType) -> Iterator[type[Record]]:
    for thing in vars(subject).values():
        if isinstance(thing, type) and issubclass(thing, Record) and thing.__module__ == subject.__name__:
            yield thing


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'it'}: {first['msg']}"
