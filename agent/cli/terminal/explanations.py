"""What a code, a record or a rule is, for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agent.cli.known_names import Explained, Named, sentence
from agent.guard.explain import RuleExplained
from models.explanations import EXIT_CODES


def print_explained(one: Explained, out: Console) -> None:
    """Its name and what it is, then a line for each thing there is to know."""
    what = str(one.what)
    if one.what is Named.ERROR and one.exit_code is not None:
        what += f"; the command ends with {one.exit_code}, {EXIT_CODES[one.exit_code].partition(':')[0]}"
    out.print(Text.assemble((one.name, "bold"), f"  {what}"))
    told = Table.grid(padding=(0, 2))
    told.add_column(style="bold", no_wrap=True)
    for label, text in (
        ("means", one.means),
        ("left", one.left),
        ("look", one.look),
        ("do", one.do),
        ("don't", one.dont),
        ("fields", ", ".join(one.fields)),
        ("see", f"`lifeboat audit show --kind {one.name}`" if one.what is Named.RECORD else ""),
    ):
        if text:
            told.add_row(label, Text(text if label == "fields" else sentence(text)))
    out.print(Padding(told, (0, 0, 0, 2)))


def print_rule(rule: RuleExplained, out: Console) -> None:
    """A rule of the guard, what it stands for, and the policy that sets it."""
    out.print(Text(rule.rule, style="bold"))
    lines = [rule.meaning, rule.invariant or "Policy alone asks for it."]
    lines += [f"{setting.field}: {setting.value}" for setting in rule.settings]
    if rule.not_judged_without:
        lines.append(f"Not judged without {' and '.join(rule.not_judged_without)}: then a human has to agree.")
    for line in lines:
        out.print(Padding(Text(line), (0, 0, 0, 2)))
