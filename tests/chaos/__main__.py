"""Play the scenarios by hand: `python -m tests.chaos play|record|table [NAME…]`, from the repository's root.

play    show what is observed          record  make it what is expected, and show what changed
table   write docs/chaos.md
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.golden import play_simulated, record
from chaos.scenario import all_scenarios


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")


def main(argv: list[str]) -> int:
    command, names = (argv[0] if argv else ""), argv[1:]
    if command not in ("play", "record", "table"):
        say(__doc__)
        return 2
    if command == "table":
        from chaos.table import write_table

        say(write_table())
        return 0
    broken = False
    for scenario in all_scenarios():
        if names and scenario.name not in names:
            continue
        told = {phase: play_simulated(scenario, phase) for phase in scenario.phases}
        broken |= any(each.broken for phase, each in told.items() if phase not in scenario.known)
        if command == "record":
            agreed = {phase: each.lines for phase, each in told.items() if phase not in scenario.known}
            if changed := record(scenario, agreed):
                say(changed)
            continue
        for phase, each in told.items():
            say("\n  ".join([f"\n{scenario.name} [{phase}]", *each.lines]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
