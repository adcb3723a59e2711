"""The pages of docs/reference, written from the code: `python -m agent.cli.reference`."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from agent.configuration.fields import documented_fields
from models.errors import LifeboatError
from models.policy.policy import Policy
from tools.atomic_file import write_atomically
from tools.ports import records
from tools.ports.journal import Record

DIRECTORY = Path(__file__).parents[2] / "docs/reference"
_MADE = "Written from the code by `python -m agent.cli.reference`; a test holds it to the code.\n"


def pages() -> dict[str, str]:
    """File name → Markdown."""
    return {"cli.md": _cli(), "policy.md": _policy(), "errors.md": _errors(), "records.md": _records()}


def errors() -> list[type[LifeboatError]]:
    """Every error of models/errors.py, each before those beneath it."""

    def below(kind: type[LifeboatError]) -> Iterator[type[LifeboatError]]:
        yield kind
        for each in kind.__subclasses__():
            yield from below(each)

    return [kind for kind in below(LifeboatError) if kind.__module__ == LifeboatError.__module__]


def _cli() -> str:
    from typer.main import get_command

    from agent.cli.app import app

    parts = [f"# Commands\n\n{_MADE}"]
    for path, command in _commands("lifeboat", get_command(app)):
        names = " ".join(
            (each.metavar or (each.name or "").upper()) for each in command.params if each.param_type_name == "argument"
        )
        rows = [
            f"| `{', '.join([*each.opts, *each.secondary_opts])}` | {_cell(each.help or '')} |"
            for each in command.params
            if each.param_type_name == "option" and not each.hidden and each.name != "help"
        ]
        told = [f"## {path}", f"`{path} {names}`".replace(" `", "`"), _paragraphs(command.help or "")]
        parts.append(
            "\n\n".join(told) + ("\n\n" + "\n".join(["| option | meaning |", "|---|---|", *rows]) if rows else "")
        )
    return "\n\n".join(parts) + "\n"


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner or command.invoke_without_command:
        yield path, command
    for name, each in inner.items():
        if not each.hidden:
            yield from _commands(f"{path} {name}", each)


def _policy() -> str:
    rows = [
        f"| `{field.name}` | {f'`{_cell(field.default)}`' if field.default else 'must be given'} | {_cell(field.meaning)} |"
        for field in documented_fields(Policy)
    ]
    head = f"# Policy fields\n\n{_MADE}\nWhy each is as it is: [policy](../policy.md).\n\n"
    return head + "\n".join(["| field | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _errors() -> str:
    rows = [
        f"| `{kind.code}` | {kind.exit_code} | {_cell(kind.__doc__ or kind.__name__)} |"
        for kind in sorted(errors(), key=lambda kind: kind.code)
    ]
    head = (
        f"# Error codes\n\n{_MADE}\nA command that fails ends in one line on standard error: what happened, what to do"
        " next, and the code in brackets.\nCodes that call a human have a section in the [runbook](../runbook.md).\n\n"
    )
    return head + "\n".join(["| code | exit | meaning |", "|---|---:|---|", *dict.fromkeys(rows)]) + "\n"


def _records() -> str:
    parts = [f"# Journal records\n\n{_MADE}\n`lifeboat audit show --kind KIND` shows those of one kind."]
    for module in sorted(each.name for each in pkgutil.iter_modules(records.__path__)):
        found = vars(import_module(f"{records.__name__}.{module}")).values()
        kinds = [kind for kind in found if isinstance(kind, type) and issubclass(kind, Record) and "KIND" in vars(kind)]
        rows = [
            f"| `{kind.KIND}` | {_cell(_own_doc(kind))} | {', '.join(f'`{name}`' for name in kind.model_fields)} |"
            for kind in kinds
        ]
        parts.append("\n".join([f"## {module}\n", "| kind | meaning | fields |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _own_doc(kind: type) -> str:
    return vars(kind).get("__doc__") or ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


if __name__ == "__main__":
    for name, text in pages().items():
        write_atomically(DIRECTORY / name, text)
