"""The pages of docs/reference, and the runbook, written from the code: `python -m agent.cli.reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.cli.known_names import codes, record_kinds, sentence
from agent.configuration.fields import documented_fields
from models.explanations import EXIT_CODES
from models.policy.policy import Policy
from tools.atomic_file import write_atomically

DIRECTORY = Path(__file__).parents[2] / "docs/reference"
_MADE = "Written from the code by `python -m agent.cli.reference`; a test holds it to the code.\n"


def pages() -> dict[str, str]:
    """File name, from docs/reference → Markdown."""
    return {
        "cli.md": _cli(),
        "policy.md": _policy(),
        "errors.md": _errors(),
        "records.md": _records(),
        "metrics.md": _metrics(),
        "../runbook.md": _runbook(),
    }


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
        f"| {f'[`{one.name}`](../runbook.md#{one.name})' if one.look else f'`{one.name}`'} | {one.exit_code} |"
        f" {_cell(one.means)} | {_cell(one.left)} | {_cell(sentence(one.do))} |"
        for one in sorted(codes(), key=lambda one: one.name)
        if one.exit_code is not None
    ]
    head = (
        f"# Error codes\n\n{_MADE}\nA command that fails ends in one line on standard error: what happened, what to do"
        " next, the code in brackets, and the command that says more.\n`lifeboat explain CODE`"
        " prints what stands here. Codes that call a human link to their section in the [runbook](../runbook.md).\n\n"
    )
    ends = "\n".join(f"- **{number}** {sentence(means)}" for number, means in EXIT_CODES.items())
    table = "\n".join(["| code | exit | meaning | what is left | what to do |", "|---|---:|---|---|---|", *rows])
    return f"{head}{table}\n\n## Exit codes\n\n{ends}\n"


def _runbook() -> str:
    head = (
        f"# Runbook\n\n{_MADE}\nA section for each code and notice that calls a human: what it means, what to look at, what to do"
        " and what not to do. The code stands\nin brackets at the end of a command's line, in the log, and in"
        " `lifeboat_pass_failures_total{code}`; `lifeboat explain CODE` prints its section.\nThe rest of the codes:"
        " [reference](reference/errors.md).\n"
    )
    parts = [
        f"## {one.name}\n**Means** {one.means} {one.left}\n\n**Look** {one.look}\n\n**Do** {one.do}\n\n**Don't** {one.dont}\n"
        for one in codes()
        if one.look
    ]
    return "\n".join([head, *parts])


def _records() -> str:
    parts = [f"# Journal records\n\n{_MADE}\n`lifeboat audit show --kind KIND` shows those of one kind."]
    for module, kinds in record_kinds():
        rows = [
            f"| `{kind.KIND}` | {_cell(vars(kind).get('__doc__') or '')} |"
            f" {', '.join(f'`{name}`' for name in kind.model_fields)} |"
            for kind in kinds
        ]
        parts.append("\n".join([f"## {module}\n", "| kind | meaning | fields |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _metrics() -> str:
    from agent.service.observability.catalogue import FAMILIES, OF_THE_JOURNAL, Per

    def values(of: tuple[str, ...] | Per) -> str:
        return str(of) if isinstance(of, Per) else ", ".join(f"`{value}`" for value in of)

    rows = [
        f"| `{each.shown}` | {each.kind} | {each.series(nodes=1000)} | {_cell(each.meaning)} |" for each in FAMILIES
    ]
    shared = ", ".join(f"`{each.shown.partition('{')[0]}`" for each in OF_THE_JOURNAL)
    labels = [
        f"| `{label}` of `{each.name}` | {_cell(values(of))} |"
        for each in FAMILIES
        for label, of in each.labels.items()
    ]
    count = sum(each.series(nodes=1000) for each in FAMILIES)
    head = (
        f"# Metrics\n\n{_MADE}\nServed on `/metrics` ([observability](../observability.md)), besides `process_…` of the agent's "
        f"process. In a fleet of 1,000 nodes there are {count:,} series,\nand five more for each node more: any other label "
        "takes no more than the values below. What counts is there from the start, at 0.\n\n"
    )
    families = "\n".join(["| metric | type | series | meaning |", "|---|---|---:|---|", *rows])
    after = (
        f"\n\n{shared} count what the journal has since the agent started, "
        "whoever did it: a `lifeboat apply` beside it too. Agents\n"
        "that share a database each count all of it: take `max`, not `sum`, over them.\n\n## Labels\n\n"
    )
    return head + families + after + "\n".join(["| label | values |", "|---|---|", *labels]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


if __name__ == "__main__":
    for name, text in pages().items():
        write_atomically(DIRECTORY / name, text)
