"""The man pages tell what the commands do, and man(1) and whatis(1) take them as they are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main

from agent.cli.app import app
from agent.cli.man_pages import pages


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man")
    for name, page in pages().items():
        (directory / name).write_text(page, encoding="utf-8")
    return directory


def test_every_command_has_a_page_with_all_that_it_takes(written: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert {path.name for path in written.iterdir()} == {"lifeboat.1", *(f"lifeboat-{name}.1" for name in commands)}
    for name, command in commands.items():
        page = (written / f"lifeboat-{name}.1").read_text(encoding="utf-8")
        for each in [command, *getattr(command, "commands", {}).values()]:
            for option in (option for parameter in each.params for option in parameter.opts if option[0] == "-"):
                assert option.replace("-", r"\-") in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_they_are_set_without_a_warning(written: Path) -> None:
    command = ["groff", "-man", "-ww", "-z", "-Tutf8", "-Kutf8", *sorted(written.iterdir())]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.skipif(shutil.which("lexgrog") is None, reason="man-db is not installed")
def test_whatis_finds_each_by_its_name(written: Path) -> None:
    done = subprocess.run(["lexgrog", *sorted(written.iterdir())], check=True, capture_output=True, text=True)
    named = [line.rpartition(': "')[2].partition(" - ")[0] for line in done.stdout.splitlines()]
    assert sorted(named) == sorted(path.stem for path in written.iterdir())
