"""`lifeboat explain CODE`, and how an error's line leads there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scenes.command_line import lifeboat, work_in

from agent.cli.console import fail
from agent.cli.known_names import Named, codes, errors, look_up, record_kinds
from agent.guard.rules import RULES
from models.errors import BadInput, Busy, JournalInvalid, LifeboatError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings file is needed."""
    work_in(tmp_path, monkeypatch)


def test_of_a_code_it_says_what_it_means_what_is_left_and_what_to_do() -> None:
    code, said = lifeboat("explain", "indeterminate")
    assert code == 0
    for words in (
        "the command ends with 4",
        "one end gave no answer",
        "locked",
        "`lifeboat resume`",
        "virsh list --all",
    ):
        assert words in said


def test_as_json_it_says_the_same() -> None:
    code, said = lifeboat("explain", "busy", "--json")
    assert code == 0
    (one,) = json.loads(said)["names"]
    assert (one["what"], one["exit_code"]) == ("error code", 3)
    assert "lifeboat resume" in one["do"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("3", "a precheck said no"),
        ("planned", "A plan was made and judged."),
        ("target-risk", "target.max_probability"),
        ("storm", "storm.max_risky_fraction: 0.34"),
    ],
    ids=["exit code", "record", "rule", "notice and rule of one name"],
)
def test_it_knows_whatever_has_a_name(name: str, words: str) -> None:
    code, said = lifeboat("explain", name)
    assert code == 0
    assert words in said


def test_a_rule_is_told_under_the_policy_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("storm: {max_risky_fraction: 0.2}\n")
    assert "storm.max_risky_fraction: 0.2" in lifeboat("explain", "storm", "--policy", "policy.yaml")[1]


@pytest.mark.parametrize(("name", "near"), [("indeterminat", "indeterminate"), ("limit-lnk", "limit-link")])
def test_of_a_name_that_is_none_it_says_the_nearest(name: str, near: str) -> None:
    code, said = lifeboat("explain", name)
    assert code == 2
    assert near in said


def test_a_plan_file_goes_before_a_code_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "busy").write_text("{}")
    (tmp_path / "lifeboat.yaml").write_text("simulated: true\nnodes: [{name: a, libvirt_uri: 'test:///default'}]\n")
    code, said = lifeboat("explain", "busy")
    assert (code, "busy" in said) == (2, True), "it is read as a plan, and is none"


@pytest.mark.parametrize(
    ("error", "leads_there"),
    [
        (Busy("another lifeboat is at work"), True),
        (JournalInvalid("entry 7 can't be read"), True),
        (BadInput("field x: expected a number"), False),
    ],
    ids=["refused", "bad input that calls a human", "the line says it all"],
)
def test_an_error_line_ends_with_how_to_learn_more(
    error: LifeboatError, leads_there: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        fail(error)
    line = capsys.readouterr().err.rstrip("\n")
    assert f"[{error.code}]" in line
    assert line.endswith(f"`lifeboat explain {error.code}`") is leads_there


def test_every_code_and_record_is_explained() -> None:
    told = {one.name: one for one in codes()}
    assert {kind.code for kind in errors()} | {"breaker", "storm"} == set(told)
    assert [one.name for one in told.values() if not (one.means and one.left and one.do)] == []
    assert [one.name for one in told.values() if bool(one.look) is not bool(one.dont)] == []
    kinds = [kind.KIND for _, each in record_kinds() for kind in each]
    assert len(kinds) > 80
    assert [kind for kind in kinds if not all(one.means for one in look_up(kind) if one.what is Named.RECORD)] == []
    assert len(RULES) > 40
