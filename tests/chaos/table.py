"""docs/chaos.md: faults × phases × outcomes, made from what the scenarios are known to look like (expected.log)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from chaos.golden import expected
from chaos.scenario import Scenario, all_scenarios

PATH = Path(__file__).parents[2] / "docs/chaos.md"
_HEAD = """\
# What happens when something breaks

Made by the chaos suite (`python -m tests.chaos table`) from what it observed; `tests/chaos/test_table.py` keeps it in step.
Each line is a way in which a scenario of `tests/chaos/scenarios/` ends, played on three nodes: *simulated* on the simulated
fleet, in virtual time; *real* on three real libvirt nodes as well, with the same outcome. Phases are those of a live migration:
**begin** (the target was asked, nothing was sent), **copying**, **switchover** (the guest stands still, the target has not
started it), **handed over** (it runs at the target, the source still holds it paused), **done** (the source let go, lifeboat has
not heard of it). Exit codes: 0 done · 1 failed · 3 refused · 4 needs a human; *killed* is lifeboat itself, and the outcome
is then what its next start found out. Where the vm is, is the truth of all nodes at the end, dead ones included.

After every line these hold, checked by one function (`tests/chaos/invariants.py`): no vm ran twice, none is lost (on a node,
or in an archive whose every byte verifies), what the journal says is what the nodes show, the journal's chain holds, and
nothing is left — no second definition, no image, mark, throttle, lock or half an archive — unless the vm is *indeterminate*:
then it stays locked, and the message names the nodes to check. A vm that a dead node took along is off until somebody
starts it. Where a line says *wrong*, one of these is known not to hold.
"""
_COLUMNS = ("what breaks", "when", "outcome", "exit", "where the vm is then", "what a human does", "seen")


@dataclass(frozen=True)
class Row:
    """One way in which a scenario ends."""

    outcome: str
    code: str
    where: str
    human: str
    wrong: bool = False


def make_table() -> str:
    """The whole page."""
    lines = [_HEAD, f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    for scenario in all_scenarios():
        lines += _rows(scenario)
    return "\n".join([*lines, ""])


def write_table() -> str:
    """Write it; one line saying so."""
    PATH.write_text(make_table())
    return f"wrote {PATH}"


def _rows(scenario: Scenario) -> list[str]:
    recorded = expected(scenario)
    rows: dict[Row, list[str]] = {}
    for phase in scenario.phases:
        if phase in scenario.known:
            row = Row("**wrong**", "", "", f"known: {scenario.known[phase]}", wrong=True)
        else:
            row = _row(recorded[phase or "once"])
        rows.setdefault(row, []).append(phase)
    lines: list[str] = []
    for row, phases in rows.items():
        what = "" if lines else f"{scenario.title} (`{scenario.name}`)"
        when = ", ".join(_shown(phase) for phase in phases)
        lines.append(
            f"| {' | '.join((what, when, row.outcome, row.code, row.where, row.human, _seen(scenario, phases)))} |"
        )
    return lines


def _shown(phase: str) -> str:
    phase = re.sub(r" about \S+$", "", phase)
    return f"lifeboat {phase}" if " " in phase and phase != "handed over" else phase or "–"


def _seen(scenario: Scenario, phases: list[str]) -> str:
    real = [phase for phase in phases if phase in scenario.on("lab")]
    if not real:
        return "simulated"
    if real == phases:
        return "real"
    return f"simulated; {', '.join(_shown(phase) for phase in real)}: real"


def _row(lines: list[str]) -> Row:
    commands = _commands(lines)
    applied = [each[1:] for each in commands if each[0] == "apply"]
    head, attempts = applied[0]
    code = match[1] if (match := re.search(r"exit (\d)", head)) else "killed"
    if code == "killed":
        recovered = [each for each in commands if each[0] == "recovery" and each[2]]
        attempts = recovered[0][2] if recovered else []
    outcomes = [match.groups() for line in attempts if (match := re.match(r"(\S+): .*?: (\w+)", line))]
    if not outcomes:
        said = head.partition(", ")[2].partition(":")[0]
        text = "nothing had begun, or all was over" if code == "killed" else said
    elif len(outcomes) == 1:
        text = outcomes[0][1]
    else:
        text = ", ".join(f"{vm} {outcome}" for vm, outcome in outcomes)
    end = [line.strip() for line in lines[lines.index("at the end:") + 1 :]]
    where = [line for line in end if not line.startswith(("archived:", "locked:"))]
    if len(where) == 1:
        where = [where[0].partition(": ")[2]]
    where += [line for line in end if line.startswith("archived:")]
    human = _human(attempts, code, head)
    if len(applied) > 1:
        human += f"; applied again here: {applied[1][0].partition(', ')[2]}"
    return Row(text, code, "; ".join(where), human)


def _commands(lines: list[str]) -> list[tuple[str, str, list[str]]]:
    """(what, how it ended, a line per attempt)."""
    found: list[tuple[str, str, list[str]]] = []
    for line in lines[: lines.index("at the end:")]:
        if line.startswith("  ") and found:
            found[-1][2].append(line.strip())
        elif not line.startswith("then:"):
            what, _, head = line.partition(": ")
            found.append((what, head, []))
    return found


def _human(attempts: list[str], code: str, head: str) -> str:
    frozen = [line for line in attempts if ": indeterminate" in line]
    if frozen:
        nodes = sorted(set(re.findall(r"node-[abc]", frozen[0].partition(";")[2])))
        return f"looks at {' and '.join(nodes)}; the vm stays locked until then"
    if code == "3" and not attempts:
        return "plans and agrees again; nothing was changed"
    if any(": failed" in line for line in attempts):
        return "plans again; the vm is as it was"
    if any(": refused" in line for line in attempts):
        return "plans again; the vm was not touched"
    return "nothing"
