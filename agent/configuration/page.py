"""The tables of docs/configuration.md, written from the settings' own fields: `python -m agent.configuration.page`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from agent.configuration.effect import takes_effect
from agent.configuration.fields import documented_fields
from agent.settings import Settings
from tools.atomic_file import write_atomically

PAGE = Path(__file__).parents[2] / "docs/configuration.md"
START = "<!-- fields: python -m agent.configuration.page -->"


def with_fields(page: str) -> str:
    """The page with its tables as the code has them now."""
    head = page.partition(START)[0]
    parts = [head + START]
    for section, fields in groupby(documented_fields(Settings), key=lambda field: field.name.rpartition(".")[0]):
        rows = [
            f"| `{field.name}` | {f'`{field.default}`' if field.default else 'must be given'} | {takes_effect(field.name)}"
            f" | {_in_cell(field.meaning)} |"
            for field in fields
        ]
        title = f"### `{section}`" if section else "### At the top"
        parts.append("\n".join([title, "| field | default | takes effect | meaning |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write_atomically(PAGE, with_fields(PAGE.read_text(encoding="utf-8")))
