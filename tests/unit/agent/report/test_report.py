"""The report says what was seen: nothing counts as safe that was not observed, and nothing unknown reads as fine."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import evacuations as scene

from agent.report import Fate, Report, Tone, build_report, render_html, write_html
from agent.report.report import MomentKind
from models.errors import BadInput
from models.evacuation import ArchiveFacts, AttemptOutcome, Evacuation, EvacuationOutcome
from models.fleet import Fleet, VmState
from models.plan import ActionKind

DONE, FAILED, INDETERMINATE = AttemptOutcome.DONE, AttemptOutcome.FAILED, AttemptOutcome.INDETERMINATE


def dry_run(**more: object) -> Report:
    fleet = scene.fleet()
    plan = scene.plan(fleet)
    verdict = scene.verdict(plan, failing=str(more.pop("failing", "")))
    risks = more.pop("risks", scene.risks())
    return build_report(
        scene.situation(fleet, risks, now=scene.at(5)),
        plan,
        verdict,
        now=scene.at(5),
        **more,
    )  # type: ignore[arg-type]


def evacuated(
    outcomes: tuple[AttemptOutcome, ...] = (DONE,) * 5,
    *,
    node_dies: bool = True,
    look_again: bool = True,
    after: Fleet | None = None,
    change: dict[int, dict[str, object]] | None = None,
) -> Report:
    fleet = scene.fleet()
    plan = scene.plan(fleet)
    attempts = tuple(scene.attempt(a, n, outcomes[n]) for n, a in enumerate(plan.moves) if n < len(outcomes))
    attempts = tuple(a.model_copy(update=(change or {}).get(n, {})) for n, a in enumerate(attempts))
    if look_again and after is None:
        after = scene.after(fleet, attempts, node_dies=node_dies)
    return build_report(
        scene.situation(fleet, now=scene.at(70)), plan, scene.verdict(plan), now=scene.at(70),
        evacuation=scene.evacuation(plan, attempts, node_dies=node_dies), fleet_after=after,
    )  # fmt: skip


def fates(report: Report) -> dict[str, Fate]:
    return {vm.name: vm.fate for vm in report.vms}


def test_an_evacuation_in_one_sentence() -> None:
    report = evacuated()
    assert report.headline == (
        "node-a was forecast to fail (93 % within 2 h) because PSU1 12 V: 11.52 V, falling 0.04 V/h, limit 11.40 V; "
        "5 vms are safe, 0 lost."
    )
    assert "node-a stopped answering 8.5 s after the last move was done." in report.lead
    assert "208 ms, seen from outside" in report.lead
    assert report.tone is Tone.GOOD
    assert not report.alerts


def test_a_dry_run_says_that_nothing_was_changed() -> None:
    report = dry_run()
    assert report.headline.endswith("; the plan moves 3 vms to other nodes and archives 2, in about 30 s.")
    assert report.lead.startswith("Dry run: nothing was changed.")
    assert "A human must approve it" in report.lead
    assert {vm.fate for vm in report.concerned} == {Fate.PLANNED}
    assert report.totals.safe == 0


def test_moments_are_in_order_and_counted_from_the_trigger() -> None:
    report = evacuated()
    kinds = [moment.kind for moment in report.moments]
    assert kinds == [
        MomentKind.TRIGGER, MomentKind.PLAN, MomentKind.APPROVAL,
        MomentKind.FIRST_MOVE, MomentKind.ALL_SAFE, MomentKind.NODE_LOST,
    ]  # fmt: skip
    assert [moment.since_trigger_seconds for moment in report.moments][:4] == [0.0, 8.0, 14.0, 20.0]


def test_a_vm_left_on_a_node_that_died_is_lost() -> None:
    report = evacuated((DONE, FAILED, DONE, DONE, DONE))
    assert fates(report)["inference-2"] is Fate.LOST
    assert report.totals.lost == 1
    assert report.tone is Tone.BAD
    assert "4 vms are safe, 1 lost" in report.headline
    assert any("make sure that node is off" in alert for alert in report.alerts)


def test_a_failed_move_on_a_living_node_is_not_a_loss() -> None:
    report = evacuated((DONE, FAILED, DONE, DONE, DONE), node_dies=False)
    assert fates(report)["inference-2"] is Fate.UNTOUCHED
    assert report.totals.lost == 0
    assert report.seconds_to_safety is None
    assert any("inference-2 could not be moved and is still on node-a" in alert for alert in report.alerts)


def test_an_indeterminate_vm_needs_a_human_and_names_both_places() -> None:
    report = evacuated((DONE, INDETERMINATE, DONE, DONE, DONE), node_dies=False)
    assert "1 must be checked by a human" in report.headline
    assert "check node-a and node-c before you start it anywhere" in report.alerts[0]


def test_a_move_reported_done_does_not_count_when_the_vm_was_not_seen_there_afterwards() -> None:
    fleet = scene.fleet()
    gone = fleet.vms[0].uuid
    after = scene.after(fleet, tuple(scene.attempt(a, n) for n, a in enumerate(scene.plan(fleet).moves)))
    after = after.model_copy(update={"vms": tuple(vm for vm in after.vms if vm.uuid != gone)})
    report = evacuated(after=Fleet.model_validate(after.model_dump()))
    assert fates(report)["inference-1"] is Fate.INDETERMINATE
    assert report.totals.safe == 4
    assert any("inference-1 was moved, yet was seen nowhere" in alert for alert in report.alerts)


def test_an_archive_that_was_not_read_back_saves_nothing() -> None:
    bad = ArchiveFacts(id="x", sha256="0" * 64, stored_bytes=1, original_bytes=1, verified=False)
    report = evacuated(change={3: {"archive": bad}, 4: {"archive": None}})
    assert fates(report)["batch-1"] is Fate.INDETERMINATE
    assert fates(report)["batch-2"] is Fate.INDETERMINATE


def test_a_target_that_died_too_takes_its_vms_along() -> None:
    fleet = scene.fleet()
    plan = scene.plan(fleet)
    attempts = tuple(scene.attempt(a, n) for n, a in enumerate(plan.moves))
    evacuation = scene.evacuation(plan, attempts)
    lost = (*evacuation.nodes_lost, evacuation.nodes_lost[0].model_copy(update={"node": "node-c"}))
    report = build_report(
        scene.situation(fleet, now=scene.at(70)), plan, scene.verdict(plan), now=scene.at(70),
        evacuation=evacuation.model_copy(update={"nodes_lost": lost}),
    )  # fmt: skip
    found = fates(report)
    assert found["inference-2"] is Fate.LOST
    assert found["batch-3"] is Fate.LOST, "it ran on node-c all along"
    assert report.totals.lost == 2


def test_without_a_second_look_the_report_says_so() -> None:
    report = evacuated(look_again=False)
    assert report.totals.safe == 5
    assert any("nobody checked the fleet again" in line for line in report.unknowns)


def test_an_evacuation_under_way_claims_nothing_yet() -> None:
    fleet = scene.fleet()
    plan = scene.plan(fleet)
    running = scene.attempt(plan.moves[1], 1).model_copy(update={"ended_at": None, "outcome": None, "evidence": ()})
    evacuation = scene.evacuation(plan, (scene.attempt(plan.moves[0], 0), running), node_dies=False)
    evacuation = Evacuation.model_validate(
        evacuation.model_dump() | {"outcome": EvacuationOutcome.RUNNING, "ended_at": None}
    )
    report = build_report(
        scene.situation(fleet, now=scene.at(30)),
        plan,
        scene.verdict(plan),
        now=scene.at(30),
        evacuation=evacuation,
    )
    assert report.totals.safe == 1
    assert report.totals.waiting == 4
    assert "4 still to go" in report.headline
    assert "still running" in report.lead


def test_stale_or_missing_risk_reads_as_unknown_never_as_healthy() -> None:
    stale = [risk.model_copy(update={"data_age_seconds": 3600.0}) for risk in scene.risks() if risk.node != "node-c"]
    report = dry_run(risks=stale)
    assert {node.name: node.at_trigger_horizon for node in report.nodes} == dict.fromkeys(
        ("node-a", "node-b", "node-c")
    )
    assert "on request (risk unknown)" in report.headline
    assert sum("risk is unknown" in line for line in report.unknowns) == 3
    assert report.loss.unknown_vms == 5
    assert report.loss.vms_if_nothing == 0
    assert "unknown" in render_html(report)


def test_a_refused_plan_names_the_rule() -> None:
    report = dry_run(failing="target-memory")
    assert "The guard refused it: target-memory." in report.lead
    assert report.tone is Tone.WARN
    assert "A refused plan is never carried out." in render_html(report)


def test_no_evacuation_is_a_calm_report() -> None:
    fleet = scene.fleet()
    plan = scene.plan(fleet).model_copy(update={"evacuating": (), "actions": ()})
    quiet = [risk for risk in scene.risks() if risk.node != "node-a"]
    quiet.insert(0, quiet[0].model_copy(update={"node": "node-a"}))
    report = build_report(
        scene.situation(fleet, quiet, now=scene.at(5)),
        plan,
        scene.verdict(plan),
        now=scene.at(5),
    )
    assert report.headline == "No node is to be emptied: the highest risk is 0.2 % within 2 h."
    assert report.tone is Tone.CALM
    assert "The moves" not in render_html(report)


def test_expected_loss_counts_vms_and_weights_apart() -> None:
    report = dry_run()
    assert report.loss.vms_if_nothing == pytest.approx(5 * 0.93)
    assert report.loss.vms_with_plan == pytest.approx(0.004 + 0.006 + 0.008 + 0.010 + 0.012)
    assert report.loss.weighted_if_nothing == 197.2


@pytest.mark.parametrize("simulated_nodes", [False, True])
def test_simulated_evidence_is_marked_everywhere(simulated_nodes: bool) -> None:
    report = dry_run(simulated_nodes=simulated_nodes)
    page = render_html(report)
    assert page.count("The telemetry is synthetic") >= 2, "at the top and at the foot"
    assert ("The nodes and vms are simulated" in page) is simulated_nodes
    assert "<title>SIMULATED: " in page


def test_real_evidence_carries_no_mark() -> None:
    fleet = scene.fleet()
    plan = scene.plan(fleet).model_copy(update={"simulated": False})
    report = build_report(
        scene.situation(fleet, scene.risks(simulated=False), now=scene.at(5)),
        plan,
        scene.verdict(plan),
        now=scene.at(5),
    )
    assert not report.simulated
    page = render_html(report)
    assert "SIMULATED" not in page
    assert 'class="simulated"' not in page


def test_the_report_survives_json() -> None:
    report = evacuated()
    assert Report.model_validate_json(report.model_dump_json()) == report


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(list(AttemptOutcome)), min_size=0, max_size=5), st.booleans(), st.booleans())
def test_every_vm_has_one_fate_and_only_observed_ones_are_safe(
    outcomes: list[AttemptOutcome], node_dies: bool, look_again: bool
) -> None:
    report = evacuated(tuple(outcomes), node_dies=node_dies, look_again=look_again)
    totals = report.totals
    parts = totals.safe + totals.lost + totals.untouched + totals.indeterminate + totals.waiting
    assert parts == totals.concerned == 5
    assert totals.safe <= outcomes.count(DONE)
    assert totals.indeterminate == outcomes.count(INDETERMINATE)
    if node_dies:
        assert totals.untouched <= outcomes.count(AttemptOutcome.SKIPPED)
    if report.tone is Tone.GOOD:
        assert totals.safe + outcomes.count(AttemptOutcome.SKIPPED) == 5


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_html(dry_run(), page)
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(BadInput, match=r"missing.*can't be written"):
        write_html(dry_run(), tmp_path / "missing" / "report.html")


def test_a_large_fleet_stays_readable() -> None:
    fleet = scene.fleet()
    vm = fleet.vms[0]
    many = tuple(vm.model_copy(update={"uuid": f"u{n}", "name": f"guest-{n:03d}"}) for n in range(150))
    nodes = fleet.nodes + tuple(fleet.nodes[1].model_copy(update={"name": f"spare-{n}"}) for n in range(97))
    fleet = Fleet(observed_at=fleet.observed_at, nodes=nodes, vms=many)
    plan = scene.plan(fleet, archive=False)
    report = build_report(
        scene.situation(fleet, now=scene.at(5)),
        plan,
        scene.verdict(plan),
        now=scene.at(5),
    )
    page = render_html(report)
    assert "guest-149" in page, "the table lists every move"
    assert "other nodes, not involved" in page
    assert "the first 40 of 150" in page


def test_a_move_of_a_stopped_vm_is_judged_by_its_own_state() -> None:
    fleet = scene.fleet()
    stopped = fleet.vms[0].model_copy(update={"state": VmState.SHUTOFF})
    fleet = Fleet.model_validate(fleet.model_dump() | {"vms": (stopped, *fleet.vms[1:])})
    plan = scene.plan(fleet)
    action = plan.actions[0].model_copy(update={"kind": ActionKind.COLD_MIGRATE})
    plan = plan.model_copy(update={"actions": (action, *plan.actions[1:])})
    attempts = tuple(scene.attempt(a, n) for n, a in enumerate(plan.moves))
    report = build_report(
        scene.situation(fleet, now=scene.at(70)), plan, scene.verdict(plan), now=scene.at(70),
        evacuation=scene.evacuation(plan, attempts), fleet_after=scene.after(fleet, attempts),
    )  # fmt: skip
    assert fates(report)["inference-1"] is Fate.MOVED


def test_a_late_report_does_not_make_its_own_data_stale() -> None:
    fleet = scene.fleet()
    plan = scene.plan(fleet)
    later = scene.at(timedelta(days=1).total_seconds())
    report = build_report(
        scene.situation(fleet, now=later),
        plan,
        scene.verdict(plan),
        now=later,
    )
    assert report.nodes[0].at_trigger_horizon == pytest.approx(0.93)
