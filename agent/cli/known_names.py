"""Everything that has a name in a line of lifeboat's, and what there is to know about it."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from difflib import get_close_matches
from enum import StrEnum
from importlib import import_module

from models.base import Value
from models.errors import LifeboatError
from models.explanations import EXIT_CODES, EXPLANATIONS
from tools.ports import records
from tools.ports.journal import Record


class Named(StrEnum):
    """What a name is a name of."""

    ERROR = "error code"
    NOTICE = "notice"
    EXIT = "exit code"
    RECORD = "journal record"


class Explained(Value):
    """One name, for a person and as JSON. What does not apply is empty."""

    name: str
    what: Named
    exit_code: int | None = None
    means: str
    left: str = ""
    """what is left in which state"""
    look: str = ""
    do: str = ""
    dont: str = ""
    fields: tuple[str, ...] = ()
    """of a journal record"""


def errors() -> list[type[LifeboatError]]:
    """Every error of models/errors.py, each before those beneath it."""

    def below(kind: type[LifeboatError]) -> Iterator[type[LifeboatError]]:
        yield kind
        for each in kind.__subclasses__():
            yield from below(each)

    return [kind for kind in below(LifeboatError) if kind.__module__ == LifeboatError.__module__]


def record_kinds() -> Iterator[tuple[str, list[type[Record]]]]:
    """The journal's records, by the module that has them."""
    for module in sorted(each.name for each in pkgutil.iter_modules(records.__path__)):
        found = vars(import_module(f"{records.__name__}.{module}")).values()
        yield module, [k for k in found if isinstance(k, type) and issubclass(k, Record) and "KIND" in vars(k)]


def codes() -> list[Explained]:
    """Every error code and notice: those that call a human first, then by name."""
    classes: dict[str, list[type[LifeboatError]]] = {}
    for kind in errors():
        classes.setdefault(kind.code, []).append(kind)
    found: list[Explained] = []
    for name, told in EXPLANATIONS.items():
        kinds = classes.get(name, [])
        found.append(
            Explained(
                name=name,
                what=Named.ERROR if kinds else Named.NOTICE,
                exit_code=kinds[0].exit_code if kinds else None,
                means=" Or: ".join(_own_words(kind) for kind in kinds) or told.means,
                left=told.left,
                look=told.look,
                do=told.do,
                dont=told.dont,
            )
        )
    order = list(EXPLANATIONS)
    return sorted(found, key=lambda one: (not one.look, order.index(one.name) if one.look else 0, one.name))


def look_up(name: str) -> list[Explained]:
    """What has this name, which may be more than one thing; empty when nothing has."""
    found = [one for one in codes() if one.name == name]
    if name.isdecimal() and int(name) in EXIT_CODES:
        found.append(Explained(name=name, what=Named.EXIT, exit_code=int(name), means=EXIT_CODES[int(name)]))
    for _, kinds in record_kinds():
        found += [
            Explained(name=name, what=Named.RECORD, means=_own_words(kind), fields=tuple(kind.model_fields))
            for kind in kinds
            if name == kind.KIND
        ]
    return found


def names_like(name: str, also: list[str]) -> list[str]:
    """The nearest of all names that `look_up` knows and of `also`, nearest first."""
    known = [one.name for one in codes()] + [kind.KIND for _, kinds in record_kinds() for kind in kinds] + also
    return get_close_matches(name, sorted(set(known)), n=3, cutoff=0.6)


def _own_words(kind: type) -> str:
    return " ".join((vars(kind).get("__doc__") or "").split())


def sentence(text: str) -> str:
    """With a capital letter, where it does not begin with a name that has none."""
    return text if text.startswith(("lifeboat", "`")) else text[:1].upper() + text[1:]
