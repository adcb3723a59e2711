"""A day of fleet time at high speed: `lifeboat run` over simulated nodes, and everything that can go wrong, at random. SIMULATED.

    PYTHONPATH=tests:. python -m chaos.soak                                        # 24 h, 1,000 nodes
    PYTHONPATH=tests:. python -m chaos.soak --nodes 50 --hours 2 --interval 1m --seed 7

Prints a table, and with --json all it found. Exit code 0: no invariant broken and nothing grows; 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

from chaos.soak.day import Play, Setup, as_json
from chaos.soak.verdict import why_not, written

from tools.memory import share_one_arena


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for each in fields(Setup):
        parser.add_argument(f"--{each.name}", type=type(each.default), default=each.default)
    parser.add_argument("--json", type=Path, help="write everything into this file")
    parser.add_argument("--keep", action="store_true", help="keep state_dir and the log")
    chosen = parser.parse_args()
    share_one_arena()  # as the agent does where it is the whole process, before there are threads
    setup = Setup(**{each.name: getattr(chosen, each.name) for each in fields(Setup)})
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="lifeboat-soak-", dir=memory if memory.is_dir() else None))
    with os.fdopen(os.dup(2), "w") as terminal:  # the agent's own lines go into the log
        found = Play(setup, directory, lambda line: print(line, file=terminal, flush=True)).run()
    wrong = why_not(found)
    print(written(found, wrong))
    if chosen.json is not None:
        chosen.json.write_text(as_json(found))
    if chosen.keep or wrong:
        print(f"kept: {directory}")
    else:
        shutil.rmtree(directory)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
