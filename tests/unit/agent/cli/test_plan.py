"""`lifeboat plan`, `guard` and `schema` from files alone, as an operator runs them."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from scenes.command_line import work_in
from scenes.topology import Topology
from typer.testing import CliRunner, Result

from agent.cli.plan import app
from agent.documents import read_fleet, read_plan, read_policy, read_risks, write_value
from agent.plan.solver import plan
from models.errors import BadInput, FleetInvalid, LifeboatError, PolicyInvalid
from models.plan import Plan
from models.policy.ladder import Rung
from models.policy.policy import Policy


@pytest.fixture
def scene() -> Topology:
    scene = Topology().node("a", risk=0.8).node("b").node("c").node("d")
    scene.vm("web", on="a", priority="high").vm("batch", on="a", priority="low", cold_archive_allowed=True)
    return scene


@pytest.fixture
def files(scene: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    write_value(tmp_path / "fleet.json", scene.fleet)
    write_value(tmp_path / "risks.json", scene.risks)
    return tmp_path


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("planning from files opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def lifeboat(*arguments: str) -> tuple[int, Result]:
    """Exit code (LifeboatError's own when one was raised) and what was printed."""
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, LifeboatError):
        return result.exception.exit_code, result
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result


FROM_FILES = ("plan", "--fleet", "fleet.json", "--risks", "risks.json")


def test_plan_json_is_pure_and_is_a_plan_that_guard_reads(files: Path) -> None:
    code, result = lifeboat(*FROM_FILES, "--json")
    assert code == 0
    made = json.loads(result.stdout)
    assert made["verdict"]["passed"]
    assert {a["kind"] for a in made["actions"]} == {"live_migrate", "cold_archive"}
    (files / "plan.json").write_text(result.stdout)
    code, result = lifeboat("guard", "plan.json", "--fleet", "fleet.json", "--json")
    assert code == 0
    assert json.loads(result.stdout)["plan_sha256"] == made["verdict"]["plan_sha256"]


def test_the_written_plan_reads_back_as_the_same_plan(files: Path, scene: Topology) -> None:
    code, _ = lifeboat(*FROM_FILES, "-o", "plan.json")
    assert code == 0
    written = read_plan(files / "plan.json")
    assert written.digest() == plan(scene.situation).digest()


def test_the_table_tells_an_operator_what_moves_where_and_what_is_needed(files: Path) -> None:
    code, result = lifeboat(*FROM_FILES)
    assert code == 0
    for expected in ("web", "batch", "live → ", "archive", "Guard", "human"):
        assert expected in result.stdout


def test_the_page_is_written(files: Path) -> None:
    code, _ = lifeboat(*FROM_FILES, "--report", "page.html")
    assert code == 0
    assert "web" in (files / "page.html").read_text()


def test_a_named_node_is_evacuated(files: Path) -> None:
    code, result = lifeboat(*FROM_FILES, "--json", "b")
    assert code == 0
    made = json.loads(result.stdout)
    assert made["evacuating"] == made["asked"] == ["b"]
    assert made["verdict"]["approval"] == "none"  # nothing is on it


def test_a_plan_the_guard_refuses_is_shown_and_ends_with_3(files: Path) -> None:
    storm = Topology().node("a", risk=0.8).node("b", risk=0.9).node("c").vm("x", on="a")
    write_value(files / "fleet.json", storm.fleet)
    write_value(files / "risks.json", storm.risks)
    code, result = lifeboat(*FROM_FILES, "--json")
    assert code == 3
    assert [r["rule"] for r in json.loads(result.stdout)["verdict"]["results"] if not r["passed"]] == ["storm"]
    code, result = lifeboat(*FROM_FILES)
    assert code == 3
    assert "storm" in result.stdout
    assert "monitoring" in result.stdout


def test_llm_without_a_model_is_the_solvers_plan_and_says_so(files: Path) -> None:
    code, result = lifeboat(*FROM_FILES, "--planner", "llm", "--json")
    assert code == 0
    made = json.loads(result.stdout)
    assert made["planned_by"]["planner"] == "solver"
    assert made["planned_by"]["fallback_reason"]


def test_old_files_are_judged_as_of_their_own_time_unless_told_otherwise(files: Path) -> None:
    assert lifeboat(*FROM_FILES)[0] == 0
    code, result = lifeboat(*FROM_FILES, "--now", "2026-11-23T05:00:00Z", "--json")
    assert code == 3
    failed = [r["rule"] for r in json.loads(result.stdout)["verdict"]["results"] if not r["passed"]]
    assert failed == ["fleet-fresh"]


def test_without_files_it_looks_and_uses_the_settings_policy(
    files: Path, scene: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "policy.yaml").write_text("protected: [web]")
    (files / "lifeboat.yaml").write_text("policy_file: policy.yaml")
    monkeypatch.setattr("agent.assess.monitor.poll_once", lambda _settings: (scene.fleet, scene.risks))
    code, result = lifeboat("plan", "--config", "lifeboat.yaml", "--json")
    assert code == 0
    assert {a["vm_name"]: a["kind"] for a in json.loads(result.stdout)["actions"]} == {
        "web": "stay",
        "batch": "cold_archive",
    }


def test_a_broken_policy_is_told_before_anybody_is_asked(files: Path) -> None:
    (files / "lifeboat.yaml").write_text("prometheus: {url: 'http://127.0.0.1:9'}")
    (files / "policy.yaml").write_text("trigger: {probabilty: 0.5}")
    code, result = lifeboat("plan", "--policy", "policy.yaml")
    assert code == 2
    assert "trigger.probabilty" in str(result.exception)


def test_guard_refuses_with_3_and_names_the_rule(files: Path, scene: Topology) -> None:
    made = plan(scene.situation)
    bent = json.loads(made.model_dump_json())
    bent["actions"][0]["target"] = "a"
    (files / "plan.json").write_text(json.dumps(bent))
    code, result = lifeboat("guard", "plan.json", "--fleet", "fleet.json", "--json")
    assert code == 3
    assert "target-differs" in {r["rule"] for r in json.loads(result.stdout)["results"] if not r["passed"]}
    code, result = lifeboat("guard", "plan.json", "--fleet", "fleet.json")
    assert code == 3
    assert "target-differs" in str(result.exception)


def test_a_hand_made_plan_of_the_bare_minimum_is_read_and_judged(files: Path) -> None:
    (files / "plan.json").write_text(json.dumps({"actions": [{"kind": "live_migrate", "vm": "web", "target": "b"}]}))
    code, result = lifeboat("guard", "plan.json", "--fleet", "fleet.json", "--risks", "risks.json", "--json")
    assert code == 0
    verdict = json.loads(result.stdout)
    assert verdict["approval"] == "human"
    (files / "plan.json").write_text(json.dumps({"actions": [{"kind": "cold_archive", "vm": "web"}]}))
    assert lifeboat("guard", "plan.json", "--fleet", "fleet.json")[0] == 3


@pytest.mark.parametrize("name", ["fleet", "risks", "plan", "policy", "knowledge"])
def test_schemas_describe_the_files_written(name: str, files: Path) -> None:
    code, result = lifeboat("schema", name)
    assert code == 0
    schema = json.loads(result.stdout)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["type"] == ("array" if name == "risks" else "object")


def bad(files: Path, name: str, content: Any) -> None:
    (files / name).write_text(content if isinstance(content, str) else json.dumps(content))


BAD: list[tuple[str, str, Any, tuple[str, ...]]] = [
    ("no fleet", "fleet.json", None, ("fleet.json", "No such file")),
    ("not JSON", "fleet.json", "{", ("fleet.json", "not JSON")),
    ("not a mapping", "fleet.json", [], ("fleet.json", "expected a mapping", "a list")),
    ("no nodes", "fleet.json", {"observed_at": "2026-11-23T04:00:00Z", "vms": []}, ("fleet.json", "nodes", "required")),
    (
        "negative memory",
        "fleet.json",
        {"observed_at": "2026-11-23T04:00:00Z", "nodes": [{"name": "a", "memory_bytes": -1, "cpus": 1}], "vms": []},
        ("fleet.json", "nodes[0] (a).memory_bytes", "greater than or equal to 0", "-1"),
    ),
    (
        "time without zone",
        "fleet.json",
        {"observed_at": "2026-11-23T04:00:00", "nodes": [], "vms": []},
        ("fleet.json", "observed_at", "zone"),
    ),
    (
        "vm nowhere",
        "fleet.json",
        {
            "observed_at": "2026-11-23T04:00:00Z",
            "nodes": [],
            "vms": [{"uuid": "u", "name": "v", "node": "gone", "memory_bytes": 1}],
        },
        ("fleet.json", "'v'", "'gone'"),
    ),
    ("risks not a list", "risks.json", {}, ("risks.json", "expected a list", "a mapping")),
    (
        "NaN",
        "risks.json",
        '[{"node": "a", "probability": {"2h": NaN}, "data_age_seconds": 1}]',
        ("risks.json", "[0] (a).probability", "nan", "0 to 1"),
    ),
    (
        "falling curve",
        "risks.json",
        [{"node": "a", "probability": {"30m": 0.5, "2h": 0.4}}],
        ("risks.json", "falls from 0.5 for 30m to 0.4 for 2h"),
    ),
    (
        "no such horizon",
        "risks.json",
        [{"node": "a", "probability": {"soon": 0.5}}],
        ("risks.json", "'soon' is not a duration"),
    ),
    (
        "two risks of one node",
        "risks.json",
        [{"node": "a", "probability": {"2h": 0.5}}] * 2,
        ("risks.json", "'a' appears twice"),
    ),
]


@pytest.mark.parametrize(("name", "content", "expected"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_bad_files_give_one_line_and_2(files: Path, name: str, content: Any, expected: tuple[str, ...]) -> None:
    if content is None:
        (files / name).unlink()
    else:
        bad(files, name, content)
    code, result = lifeboat(*FROM_FILES)
    assert code == 2
    line = str(result.exception)
    assert "\n" not in line
    for part in expected:
        assert part in line
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("trigger: {probability: 2}", ("trigger.probability", "less than or equal to 1", "2")),
        ("triger: {}", ("triger", "not known here", "did you mean trigger?")),
        ("trigger: {horizon: soon}", ("trigger.horizon", "not a duration")),
        ("trigger: {horizon: 0s}", ("trigger.horizon",)),
        ("- a\n- b", ("expected a mapping", "a list")),
        ("a: [", ("not YAML",)),
        ("approval: {live_migrate: maybe}", ("approval.live_migrate", "auto", "ask", "maybe")),
        ("weights: {high: .nan}", ("weights.high",)),
    ],
)
def test_a_broken_policy_is_one_line(files: Path, content: str, expected: tuple[str, ...]) -> None:
    (files / "policy.yaml").write_text(content)
    code, result = lifeboat(*FROM_FILES, "--policy", "policy.yaml")
    assert code == 2
    assert isinstance(result.exception, PolicyInvalid)
    line = str(result.exception)
    assert "policy.yaml" in line
    assert "\n" not in line
    for part in expected:
        assert part in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "--fleet", "fleet.json", "nobody"),
        ("plan", "--risks", "risks.json"),
        ("plan", "--fleet", "fleet.json", "--planner", "oracle"),
        ("plan", "--fleet", "fleet.json", "--now", "noon"),
        ("plan", "--fleet", "fleet.json", "-o", "no/such/place.json"),
        ("plan", "--fleet", "fleet.json", "--report", "no/such/place.html"),
        ("schema", "everything"),
        ("guard", "no-plan.json", "--fleet", "fleet.json"),
    ],
    ids=" ".join,
)
def test_bad_arguments_are_2(files: Path, arguments: tuple[str, ...]) -> None:
    code, result = lifeboat(*arguments)
    assert code == 2
    assert isinstance(result.exception, BadInput)


def test_an_empty_policy_file_is_the_default_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("# nothing yet\n")
    assert read_policy(tmp_path / "policy.yaml") == Policy()


def test_the_shipped_example_is_the_default_policy_spelt_out() -> None:
    example = Path(__file__).parents[4] / "deploy" / "policy.yaml"
    assert read_policy(example) == Policy()


def test_the_policy_page_names_every_field_with_its_default() -> None:
    page = (Path(__file__).parents[4] / "docs" / "policy.md").read_text()
    defaults = Policy().model_dump(mode="json")
    for section, value in defaults.items():
        if not isinstance(value, dict):
            assert f"`{section}`" in page
            continue
        for field, default in value.items():
            row = next((line for line in page.splitlines() if line.startswith(f"| `{section}.{field}` |")), None)
            assert row, f"{section}.{field} is not in docs/policy.md"
            if field == "ladder":
                continue
            shown = json.dumps(default).replace('"', "") if default is not None else "none"
            assert f"`{shown}`" in row, f"{row}: default is {shown}"


def test_the_policy_page_shows_the_default_ladder_rung_by_rung() -> None:
    page = (Path(__file__).parents[4] / "docs" / "policy.md").read_text()
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `{when:")]
    assert [Rung.model_validate(yaml.safe_load(row)) for row in rows] == list(Policy().migration.ladder)


def test_null_in_a_fleet_file_means_not_told(tmp_path: Path) -> None:
    bad(tmp_path, "fleet.json", {
        "observed_at": "2026-11-23T04:00:00Z",
        "nodes": [{"name": "a", "memory_bytes": 1, "cpus": 1, "cpu_model": None, "failure_domain": None}],
        "vms": [{"uuid": "u", "name": "v", "node": "a", "memory_bytes": 1, "dirty_bytes_per_second": None,
                 "anti_affinity_group": None, "hugepage_bytes": None, "something_new": 1}],
    })  # fmt: skip
    fleet = read_fleet(tmp_path / "fleet.json")
    assert fleet.nodes[0].cpu_model == ""
    assert fleet.vms[0].dirty_bytes_per_second is None


def test_the_same_vm_told_twice_is_refused(tmp_path: Path) -> None:
    vm = {"uuid": "u", "name": "v", "node": "a", "memory_bytes": 1}
    bad(tmp_path, "fleet.json", {"observed_at": "2026-11-23T04:00:00Z",
                                 "nodes": [{"name": "a", "memory_bytes": 1, "cpus": 1}], "vms": [vm, vm]})  # fmt: skip
    with pytest.raises(FleetInvalid, match="'u' appears twice"):
        read_fleet(tmp_path / "fleet.json")


def test_risks_survive_the_round_trip(scene: Topology, tmp_path: Path) -> None:
    write_value(tmp_path / "risks.json", scene.risks)
    assert read_risks(tmp_path / "risks.json") == scene.risks


def test_a_changed_fleet_is_another_fleet_and_a_measured_rate_is_not() -> None:
    before = Topology().node("a").vm("x", on="a", dirty_bytes_per_second=1.0)
    busier = Topology().node("a").vm("x", on="a", dirty_bytes_per_second=2.0, disk_bytes=11 * 10**9)
    larger = Topology().node("a").vm("x", on="a", gib=5)
    assert before.fleet.digest() == busier.fleet.digest()
    assert before.fleet.digest() != larger.fleet.digest()


def test_a_copy_of_a_fleet_answers_for_itself() -> None:
    fleet = Topology().node("a").vm("x", on="a").vm("y", on="a").fleet
    before = fleet.digest()
    smaller = fleet.model_copy(update={"vms": fleet.vms[:1]})
    assert smaller.digest() != before
    assert list(smaller.vm_by_uuid) == ["uuid-x"]


def test_a_plan_digest_changes_with_any_action(scene: Topology) -> None:
    made: Plan = plan(scene.situation)
    other = made.model_copy(update={"actions": made.actions[:1]})
    assert made.digest() != other.digest()


HUGE = [
    ("a negative length of time", "policy.yaml", "data: {max_age: -5m}", "data.max_age"),
    ("a negative ISO duration as seconds", "policy.yaml", "cooldown: -1", "cooldown"),
    ("longer than time", "policy.yaml", "trigger: {horizon: 99999999999999d}", "trigger.horizon"),
    ("more memory than there is", "fleet.json", '{"nodes": [{"memory_bytes": 1e300}]}', "memory_bytes"),
    ("endless memory", "fleet.json", '{"nodes": [{"memory_bytes": Infinity}]}', "memory_bytes"),
    ("a weight without end", "policy.yaml", "weights: {high: .inf}", "weights.high"),
    ("a moment before time", "fleet.json", '{"observed_at": "0001-01-01T00:00:00+14:00"}', "observed_at"),
]


@pytest.mark.parametrize(("name", "content", "field"), [c[1:] for c in HUGE], ids=[c[0] for c in HUGE])
def test_absurd_values_name_their_field(files: Path, name: str, content: str, field: str) -> None:
    if name == "fleet.json":
        fleet = json.loads((files / name).read_text())
        extra = json.loads(content)
        fleet["nodes"][0] |= extra.pop("nodes", [{}])[0]
        content = json.dumps(fleet | extra)
    (files / name).write_text(content)
    code, result = lifeboat(*FROM_FILES, *(("--policy", "policy.yaml") if name == "policy.yaml" else ()))
    assert code == 2
    assert field in str(result.exception)


def test_guard_explains_a_rule_without_any_plan(files: Path) -> None:
    (files / "policy.yaml").write_text("limits: {per_link: 3}\n")
    code, result = lifeboat("guard", "--explain", "limit-link", "--policy", "policy.yaml")
    assert code == 0
    assert result.stdout.startswith("limit-link\n")
    assert "limits.per_link: 3" in result.stdout
    code, result = lifeboat("guard", "--explain", "target-risk", "--json")
    (told,) = json.loads(result.stdout)["rules"]
    assert told["not_judged_without"] == ["risks"]
    assert told["settings"][0] == {"field": "target.max_probability", "value": 0.1}


def test_guard_explains_every_rule(files: Path) -> None:
    code, result = lifeboat("guard", "--explain", "all", "--json")
    assert code == 0
    told = json.loads(result.stdout)["rules"]
    assert len(told) > 30
    assert all(one["meaning"].endswith(".") for one in told)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--explain", "limit-lnk"), "there is no rule 'limit-lnk'"),
        (("--explain", "storm", "plan.json"), "--explain tells of rules"),
        (("--fleet", "fleet.json"), "PLAN is missing"),
        (("plan.json",), "--fleet F is missing"),
    ],
)
def test_guard_says_what_it_lacks(files: Path, arguments: tuple[str, ...], expected: str) -> None:
    code, result = lifeboat("guard", *arguments)
    assert code == 2
    assert expected in str(result.exception)


def test_plan_is_played_in_imagined_futures(files: Path) -> None:
    code, result = lifeboat(*FROM_FILES, "--simulate", "50", "--json")
    assert code == 0
    assert json.loads(result.stdout)["simulation"]["runs"] == 50
    code, result = lifeboat(*FROM_FILES, "--simulate", "50", "--report", "R.html")
    assert code == 0
    assert "in 50 futures" in result.stdout
    assert "50 imagined futures" in (files / "R.html").read_text()
    code, result = lifeboat(*FROM_FILES, "--simulate", "50", "--markdown", "--report", "R.md")
    assert code == 0
    assert "| in 50 runs |" in result.stdout
    assert (files / "R.md").read_text() == result.stdout
