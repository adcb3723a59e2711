"""Each block of commands in the documents does what it says, run from top to bottom on a SIMULATED fleet and small files.

`EVACUATION`, `ARCHIVE` and the like are words that the reader replaces; so does the test. A command that would go on for ever is
run for one pass. It has to end with 0, or with the exit code that its own comment names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scenes.command_line import lifeboat
from scenes.doc_commands import ROOT, Block, blocks, simple_commands
from scenes.documented_fleet import DocumentedFleet, documented_fleet

RUN = [block for block in blocks() if block.not_run is None and not block.on_lab]
HARMLESS = {"cd", "cat", "zstd", "sha256sum", "jq", "base64", "openssl", "touch", "rm", "date", "printf", "cut"}
"""programs that may run on whatever machine tests are run on; folders of the host are replaced before"""


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=str)
def test_it_does(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = not any(line.startswith("lifeboat apply plan.json ") and "--propose" not in line for line in block.lines)
    with documented_fleet(tmp_path, monkeypatch, asks_people=asks) as world:
        steps = block.lines if _asks_lifeboat(block) else ("\n".join([*_before(block), *block.lines]),)
        assert [wrong for line in steps if (wrong := _wrong(line, world)) is not None] == []


def _asks_lifeboat(block: Block) -> bool:
    return any(line.startswith("lifeboat") for line in block.lines)


def _before(block: Block) -> list[str]:
    """What earlier blocks of the page have the shell do, in the folder that this one goes on in."""
    earlier = (each for each in RUN if each.page == block.page and each.line < block.line)
    return [line for each in earlier if not _asks_lifeboat(each) for line in each.lines]


def _wrong(line: str, world: DocumentedFleet) -> str | None:
    """What went otherwise than it should; None when all is well."""
    named = re.search(r"exit code (\d)", line.partition("#")[2])
    wanted = int(named[1]) if named else 0
    if not line.startswith("lifeboat"):
        return _wrong_in_shell(line, world)
    for part in simple_commands(line):
        words = tuple(world.meaning(word) for word in part[1:])
        if words == ("run",):
            words = ("run", "--once")
        if words == ("init",):  # no terminal here to answer at, and what is there is never overwritten
            words = ("init", "--prometheus", world.prometheus_url, "--output", "etc/lifeboat.yaml")
        if words == ("assess",) or words[:2] == ("train", "own"):
            continue  # the one tests/lab/test_tutorial.py runs, on real metrics; for the other twelve days are no past
        code, out = lifeboat(*words)
        if words[0] in ("doctor", "init") and code == 1:
            code = 0  # doctor finds that this Prometheus knows little of these nodes; on the lab it finds no fault
        if code != wanted:
            return f"{line}\nended with {code}, not {wanted}: {out[-600:]}"
    return None


def _wrong_in_shell(script: str, world: DocumentedFleet) -> str | None:
    programs = {name for line in script.splitlines() for part in simple_commands(line) for name in _programs(part)}
    if programs - HARMLESS:
        return f"{script}\nmay change more than the scratch folder: {programs - HARMLESS}; say on=lab or not-run"
    if (missing := [name for name in programs - {"cd"} if shutil.which(name) is None]) != []:
        pytest.skip(f"not installed here: {', '.join(missing)}")
    bash = ["bash", "-euo", "pipefail", "-c", world.meaning(script)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    here = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(bash, cwd=world.directory, env=here, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"{script}\nended with {done.returncode}: {done.stderr[-600:]}"


def _programs(words: list[str]) -> list[str]:
    """What a simple command runs; of assignments, what their values run. lifeboat's own modules and webhook are no danger."""
    if re.match(r"\w+=", words[0]):
        return re.findall(r"\$\((\w+)", " ".join(words))
    own = words[:2] == ["python", "-m"] and words[2].startswith("agent.")
    to_the_webhook = words[0] == "curl" and words[-1].startswith("http://127.0.0.1:8765")
    return [] if own or to_the_webhook else [words[0]]
