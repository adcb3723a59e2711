"""docs/tutorial.md as a newcomer plays it, command by command, on a lab of its own: what the page shows is what comes.

Read otherwise than on the page are only the lab's name and addresses (another one may be up), and the tempo of the fault.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.doc_commands import Shown, shown_on

from lab.lifecycle.down import down
from lab.nodes.node import Lab, lab_root

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

NAME = "tutorial"
QUICKER = " --errors-in 60s --death-in 30m"


class Newcomer:
    """A shell in an empty folder, in a terminal 130 columns wide."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "COLUMNS": "130"}
        self._environment.pop("LIFEBOAT_CONFIG", None)

    def types(self, command: str) -> str:
        """What it says on both streams. Ends the test where it does not end with 0."""
        command = self._here(command)
        if (exported := re.fullmatch(r"export (\w+)=(\S+)", command)) is not None:
            self._environment[exported[1]] = exported[2]
            return ""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        sys.stdout.write(f"$ {command}\n{done.stdout}")
        return done.stdout

    def _here(self, command: str) -> str:
        command = command.replace(str(lab_root("default")), str(lab_root(NAME)))
        if (subcommand := re.match(r"lifeboat lab (\w+)", command)) is not None:
            command += f" --name {NAME}" + (QUICKER if subcommand[1] == "break" else "")
        if "10.77.7." in command:
            command = command.replace("10.77.7.", Lab.load(NAME).node("node-a").address.removesuffix("11"))
        return command


@pytest.fixture
def newcomer(can_have_lab: None, tmp_path: Path) -> Iterator[Newcomer]:
    down(NAME)  # left by a session that was killed
    yield Newcomer(tmp_path)
    down(NAME)


def test_what_the_page_shows_is_what_comes(newcomer: Newcomer) -> None:
    guest: list[dict[str, object]] = []
    for shown in shown_on("docs/tutorial.md"):
        looks = shown.command == "lifeboat assess"
        said = _wait_until_it_is_told(newcomer, shown) if looks else newcomer.types(shown.command)
        assert _lacking(said, shown) == [], f"{shown.command}\n{said}"
        if shown.command.startswith("curl"):
            guest.append(json.loads(said))
    before, after = guest
    assert before["boot_id"] == after["boot_id"], "it moved live"
    assert int(str(after["counter"])) > int(str(before["counter"]))
    assert not lab_root(NAME).exists()


def _wait_until_it_is_told(newcomer: Newcomer, shown: Shown) -> str:
    """The page says how long one waits; here it is looked at again and again, until everything that it shows has come."""
    began = time.monotonic()
    while True:
        said = newcomer.types(shown.command)
        if _lacking(said, shown) == []:
            return said
        assert time.monotonic() - began < 300, said


def _lacking(said: str, shown: Shown) -> list[str]:
    return [line for line in shown.output if not _says(said, line)]


def _says(said: str, line: str) -> bool:
    """Whether something of this shape was said: figures may differ, `…` is anything, lines may be broken elsewhere."""
    parts = re.split(r"(…|[0-9a-f]{8,}|(?:< )?\d[\w.:,]*|\s+)", _text(line.replace("'default'", f"'{NAME}'")))
    shape = ""
    for part in parts:
        if part == "…":
            shape += ".*"
        elif re.fullmatch(r"[0-9a-f]{8,}", part):
            shape += "[0-9a-f]+"
        elif re.match(r"(?:< )?\d", part):
            shape += r"(?:< )?\d[\w.:,]*"
        else:
            shape += re.escape(part)
    return re.search(shape.replace("lifeboat\\-lab/default/", f"lifeboat\\-lab/{NAME}/"), _text(said)) is not None


def _text(shown: str) -> str:
    """Without the frames of tables."""
    return " ".join(re.sub("[─-╿]", " ", shown).split())
