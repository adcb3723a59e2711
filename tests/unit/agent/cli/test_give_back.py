"""`lifeboat return NODE` from files, as an operator runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scenes.command_line import work_in
from scenes.topology import Topology, live
from typer.testing import CliRunner, Result

from agent.cli.give_back import app
from agent.documents import write_value
from models.errors import LifeboatError


def lifeboat(*arguments: str) -> tuple[int, Result]:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, LifeboatError):
        return result.exception.exit_code, result
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch, columns=120)
    scene = Topology().node("a").node("b").vm("web", on="b")
    write_value(tmp_path / "fleet.json", scene.fleet)
    write_value(tmp_path / "risks.json", scene.risks)
    write_value(tmp_path / "plan.json", scene.plan_of(live("web", "a", "b"), evacuating=("a",)))
    return tmp_path


FILES = ("--fleet", "fleet.json", "--risks", "risks.json", "--from", "plan.json")


def test_the_plan_says_who_comes_back(files: Path) -> None:
    code, result = lifeboat("a", *FILES)
    assert code == 0
    assert "Approve or reject: give a its vms back: 1 moves live." in result.stdout
    assert "1 vm returns to a in about" in result.stdout
    assert "was on a before" in result.stdout


def test_it_is_a_plan_like_any_other(files: Path) -> None:
    code, result = lifeboat("a", *FILES, "--json", "-o", "back.json")
    assert code == 0
    made = json.loads(result.stdout)
    assert made["returning"] == ["a"]
    assert made["verdict"]["approval"] == "human"
    assert json.loads((files / "back.json").read_text())["returning"] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("z", *FILES), 2, "'z' is not in the fleet"),
        (("b", *FILES), 2, "nothing is known to have left b"),
        (("a", "--fleet", "fleet.json"), 2, "--fleet without --from"),
        (("a", "--fleet", "fleet.json", "--from", "plan.json"), 3, "target-risk"),
    ],
)
def test_what_can_not_be_done_is_one_line(files: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended, result = lifeboat(*arguments)
    assert ended == code
    assert said in str(result.exception)
