"""How a plan is scored: by what becomes of the vms in the true world, and by nothing that is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.evals.run import shipped_scenes
from agent.evals.scene import Expected, Scene, Truth
from agent.evals.scene_files import load_scenes, vm_uuid
from agent.evals.score import score
from agent.evals.scorecard import Cost, SceneRun, pass_hat, rate_of, scorecard
from agent.evals.true_world import true_outcome
from agent.plan import solver
from models.errors import BadInput
from models.plan import Plan, PlannedBy

SCENE = """
title: Two guests on a node that dies
topic: basics
difficulty: 1
fleet: small
risks: {a: 0.9}
"""
FLEET = """
nodes:
  a: {}
  b: {}
  c: {}
vms:
  big: {at: a, memory: 8G, priority: high}
  low: {at: a, priority: low, archive: true, disk: 1G}
"""


def write(folder: Path, scene: str = SCENE, truth: str = "down: {a: 30m}") -> Path:
    (folder / "fleets").mkdir(exist_ok=True)
    (folder / "fleets" / "small.yaml").write_text(FLEET)
    one = folder / "scenes" / "one"
    one.mkdir(parents=True, exist_ok=True)
    (one / "scene.yaml").write_text(scene)
    (one / "truth.yaml").write_text(truth)
    return folder


def scene_with(folder: Path, truth: Truth) -> Scene:
    (scene,) = load_scenes(write(folder))
    return Scene(**{**vars(scene), "truth": truth})


def planned(scene: Scene, **by: object) -> Plan:
    plan = solver.plan(scene.situation)
    return plan.model_copy(update={"planned_by": PlannedBy.model_validate({"planner": "llm", **by})})


def truth(**told: object) -> Truth:
    return Truth.model_validate(told)


def test_who_arrives_is_saved_and_who_does_not_is_lost(tmp_path: Path) -> None:
    early, late = (
        true_outcome(s, planned(s)) for s in (scene_with(tmp_path, truth(down={"a": d})) for d in ("5s", "1h"))
    )
    assert set(early.lost) == {"big", "low"}
    assert early.loss == 101
    assert late.lost == ()
    assert late.loss == pytest.approx(0.1), "the archived one is out of service for a while"


def test_a_target_that_goes_down_takes_its_guests_along(tmp_path: Path) -> None:
    scene = scene_with(tmp_path, truth(down={"a": "1h", "b": "2h", "c": "2h"}))
    assert true_outcome(scene, planned(scene)).lost == ("big",)


def test_moves_may_take_longer_than_estimated(tmp_path: Path) -> None:
    scene = scene_with(tmp_path, truth(down={"a": "3m"}))
    slow = scene_with(tmp_path, truth(down={"a": "3m"}, slower=5))
    assert "big" not in true_outcome(scene, planned(scene)).lost
    assert "big" in true_outcome(slow, planned(slow)).lost


def test_worth_and_stops_are_what_the_truth_says(tmp_path: Path) -> None:
    scene = scene_with(tmp_path, truth(down={"a": "1h"}, worth={"low": 50}, stop_costs={"low": 0.5}))
    assert true_outcome(scene, planned(scene)).loss == 25
    assert true_outcome(scene, None).loss == 150


def test_leaving_it_to_the_solver_scores_nothing(tmp_path: Path) -> None:
    scene = scene_with(tmp_path, truth(down={"a": "1h"}, expected={"leave": ["big"]}))
    own = solver.plan(scene.situation)
    assert score(scene, planned(scene), own, planner="llm").passed
    refused = score(scene, own, own, planner="llm")
    assert not refused.passed
    assert "no plan of its own" in refused.faults[0]
    control = scene_with(tmp_path, truth(expected={"nothing_moves": True}))
    quiet = own.model_copy(update={"actions": ()})
    assert score(control, quiet, quiet, planner="llm").passed


def test_a_plan_that_the_guard_refuses_does_nothing(tmp_path: Path) -> None:
    scene = scene_with(tmp_path, truth(down={"a": "1h"}, expected={"leave": ["big"]}))
    plan = planned(scene)
    doubled = plan.model_copy(update={"actions": (*plan.actions, plan.actions[0])})
    result = score(scene, doubled, solver.plan(scene.situation), planner="llm")
    assert result.true_loss == 101
    assert "big is left where it is" in result.faults


@pytest.mark.parametrize(
    ("expected", "fault"),
    [
        ({"nothing_moves": True}, "2 vms move"),
        ({"live": ["low"]}, "low: cold_archive, expected live_migrate"),
        ({"running": ["low"]}, "low is stopped"),
        ({"stay": ["big"]}, "big moves"),
        ({"avoid": ["b", "c"]}, "big goes to"),
        ({"before": [["low", "big"], ["big", "low"]]}, "is safe later than"),
    ],
)
def test_what_must_and_must_not_be(tmp_path: Path, expected: dict[str, object], fault: str) -> None:
    scene = scene_with(tmp_path, truth(down={"a": "1h"}, expected=Expected.model_validate(expected)))
    assert any(fault in said for said in score(scene, planned(scene), planned(scene), planner="llm").faults)


def test_judgement_has_to_be_a_fifth_better(tmp_path: Path) -> None:
    scene = scene_with(tmp_path, truth(down={"a": "1h"}, stop_costs={"low": 1.0}, better_than_solver=True))
    same = score(scene, planned(scene), solver.plan(scene.situation), planner="llm")
    assert "at most 0.8 times" in same.faults[0]


def run(name: str, number: int, *, passed: bool) -> SceneRun:
    (first,) = load_scenes(shipped_scenes(), ("control-quiet",))
    judged = score(first, solver.plan(first.situation), solver.plan(first.situation), planner="solver")
    return SceneRun(
        scene=name,
        topic=first.topic,
        difficulty=1,
        run=number,
        score=judged.model_copy(update={"passed": passed}),
        cost=Cost(seconds=float(number)),
    )


def test_pass_hat_is_the_chance_that_all_of_k_runs_pass() -> None:
    runs = [run("a", n, passed=True) for n in range(1, 5)] + [run("b", n, passed=n <= 2) for n in range(1, 5)]
    card = scorecard(runs, planner="llm", model="m")
    assert [round(card.pass_hat[k].share, 4) for k in (1, 2, 3, 4)] == [0.75, round((1 + 1 / 6) / 2, 4), 0.5, 0.5]
    assert card.scenes == 2
    assert card.seconds_p50 == 2.0
    with pytest.raises(ValueError, match="5 runs"):
        pass_hat(5, [(4, 4)])


def test_the_interval_says_how_little_few_scenes_show() -> None:
    few, many = rate_of(3, 3), rate_of(300, 300)
    assert few.low == pytest.approx(0.4385, abs=1e-3)  # Wilson 1927, by hand
    assert many.low > 0.98
    assert (few.high, many.high) == (1.0, 1.0)
    assert rate_of(0, 0).low == 0.0


@pytest.mark.parametrize(
    ("scene", "true", "said"),
    [
        (SCENE + "notes: {bigg: [long-job]}", "{}", "is not in the fleet"),
        (SCENE + "risks2: {}", "{}", "risks2"),
        (SCENE, "down: {z: 1h}", "z is not in the fleet"),
        (SCENE + "readings: {a/psu_12_volts/x: [1, 2]}", "{}", "no signal is called psu_12_volts"),
        (SCENE.replace("small", "none"), "{}", "none.yaml"),
        (SCENE + "vms: {big: {memory: 8 apples}}", "{}", "not a size"),
        (SCENE + "notes: {big: [hurry]}", "{}", "hurry"),
    ],
)
def test_a_slip_of_the_pen_is_one_line(tmp_path: Path, scene: str, true: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as raised:
        load_scenes(write(tmp_path, scene, true))
    assert "\n" not in str(raised.value)


def test_names_pick_scenes_and_a_name_that_is_none_is_said(tmp_path: Path) -> None:
    assert len(load_scenes(write(tmp_path), ("o",))) == 1
    with pytest.raises(BadInput, match="no scene is called 'two'"):
        load_scenes(tmp_path, ("two",))
    with pytest.raises(BadInput, match="no scenes in"):
        load_scenes(tmp_path / "elsewhere")


def test_a_scene_is_the_same_every_time(tmp_path: Path) -> None:
    one, other = (load_scenes(write(tmp_path))[0] for _ in range(2))
    assert one.situation.fleet.digest() == other.situation.fleet.digest()
    assert vm_uuid("big") in one.situation.fleet.vm_by_uuid
