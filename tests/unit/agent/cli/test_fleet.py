"""`lifeboat fleet` as an operator runs it: the file it makes is one that `plan` takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from scenes.command_line import work_in
from typer.testing import CliRunner, Result

from agent.cli.fleet import app as fleet_app
from agent.cli.plan import app as plan_app
from models.errors import LifeboatError

HBAL = """\
g|u|preferred||

n1|65536|1024|40960|1|1|16|N|u|1||N|0|2|1.0
n2|65536|1024|60000|1|1|16|N|u|1||N|0|2|1.0

web|8192|20480|4|running|Y|n1||rbd||1|-
"""
app = typer.Typer()
app.add_typer(fleet_app)
app.add_typer(plan_app)


def lifeboat(*arguments: str) -> tuple[int, Result]:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, LifeboatError):
        return result.exception.exit_code, result
    return result.exit_code, result


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    (tmp_path / "cluster.data").write_text(HBAL)
    return tmp_path


def test_a_plan_is_made_of_an_imported_fleet(here: Path) -> None:
    code, _ = lifeboat("fleet", "--from-hbal", "cluster.data", "--cpu-overcommit", "4", "-o", "fleet.json")
    assert code == 0
    risks = [{"node": n, "probability": {"2h": p}, "data_age_seconds": 1} for n, p in (("n1", 0.9), ("n2", 0.01))]
    (here / "risks.json").write_text(json.dumps(risks))
    code, result = lifeboat("plan", "--fleet", "fleet.json", "--risks", "risks.json", "--json")
    assert code == 0
    made = json.loads(result.stdout)
    assert [(a["vm_name"], a["target"]) for a in made["actions"]] == [("web", "n2")]


def test_without_output_it_is_on_stdout_alone(here: Path) -> None:
    code, result = lifeboat("fleet", "--from-hbal", "cluster.data", "--json")
    assert code == 0
    assert [node["name"] for node in json.loads(result.stdout)["nodes"]] == ["n1", "n2"]
    assert "priorities are taken as normal" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "0 files"),
        (("--from-hbal", "cluster.data", "--from-proxmox", "x.json"), "2 files"),
        (("--from-hbal", "missing.data"), "missing.data can't be read"),
        (("--from-proxmox", "cluster.data"), "cluster.data is not JSON"),
        (("--from-xml", "cluster.data"), "cluster.data is not a folder"),
    ],
)
def test_what_can_not_be_read_is_one_line(here: Path, arguments: tuple[str, ...], said: str) -> None:
    code, result = lifeboat("fleet", *arguments)
    assert code == 2
    assert said in str(result.exception)
