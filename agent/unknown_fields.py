"""What is said of a field that a file names and this version does not know: one that was renamed or dropped, or is misspelt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

FORMERLY: Mapping[str, Mapping[str, str]] = {
    "Settings": {"durable_url": "write database_url: the journal is in that database too"},
    "Policy": {},
}
"""by the model of a file: the place of a field that older versions had (`nodes.libvirt_uri`, without the numbers of a list), and
what to write instead, or that nothing takes its place. A field that goes, or gets another name, is put here in the same change"""


def why_unknown(
    model: type[BaseModel], location: Sequence[int | str], formerly: Mapping[str, Mapping[str, str]] = FORMERLY
) -> str:
    """In a few words, why the field there is not known, and what may be meant. `location`: as pydantic's errors give it."""
    names = [part for part in location if isinstance(part, str)]
    instead = formerly.get(model.__name__, {}).get(".".join(names))
    if instead is not None:
        return f"an older version knew it; {instead}"
    inside: type[BaseModel] | None = model
    for name in names[:-1]:
        field = inside.model_fields.get(name) if inside is not None else None
        inside = model_inside(field)[0] if field is not None else None
    near = get_close_matches(names[-1], inside.model_fields, n=1) if inside is not None and names else []
    return f"not known here, did you mean {near[0]}?" if near else "not known here"


def model_inside(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """The model that a field holds, and whether it holds many."""
    left: list[Any] = [field.annotation]
    many = False
    while left:
        kind = left.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind, many
        arguments = get_args(kind)
        many = many or getattr(kind, "__origin__", None) in (tuple, list, dict)
        left += [one for one in arguments if one is not type(None)]
    return None, False
