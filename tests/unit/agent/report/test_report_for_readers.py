"""A report is read in a hurry: the decision first, only what matters, and no word broken on any terminal."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scenes import evacuations as scene

from agent.report import Report, build_report, render_html, render_markdown, render_terminal
from agent.report.relevance import relevant_nodes
from models.fleet import Fleet
from models.plan import ActionKind, Approval, Plan
from models.risk.risk import Driver, Risk
from models.risk.risk_level import RiskLevel

MINUTES = ("30m", "2h", "24h", "7d")


def sound(node: str, p: float = 0.0004) -> Risk:
    return Risk(node=node, probability=dict.fromkeys(MINUTES, p), data_age_seconds=1, assessed_at=scene.at(-1))


def large_fleet(spares: int) -> Fleet:
    fleet = scene.fleet()
    more = tuple(fleet.nodes[1].model_copy(update={"name": f"spare-{n:02d}"}) for n in range(spares))
    return Fleet(observed_at=fleet.observed_at, nodes=fleet.nodes + more, vms=fleet.vms)


def dry_run(
    fleet: Fleet | None = None, risks: list[Risk] | None = None, plan: Plan | None = None, *, failing: str = ""
) -> Report:
    fleet = fleet or scene.fleet()
    plan = plan or scene.plan(fleet)
    risks = scene.risks() if risks is None else risks
    verdict = scene.verdict(plan, failing=failing)
    return build_report(scene.situation(fleet, risks, now=scene.at(5)), plan, verdict, now=scene.at(5))


def on_terminal(report: Report, width: int) -> str:
    out = io.StringIO()
    render_terminal(report, Console(file=out, width=width, force_terminal=False, highlight=False))
    return out.getvalue()


def test_forty_nodes_make_no_forty_rows() -> None:
    fleet = large_fleet(37)
    risks = [*scene.risks(), *(sound(f"spare-{n:02d}") for n in range(37))]
    report = dry_run(fleet, risks)
    relevant = relevant_nodes(report)
    assert [node.name for node in relevant.shown] == ["node-a"]
    assert [group.label for group in relevant.groups] == ["2 targets", "37 other nodes"]
    for shown in (on_terminal(report, 80), render_markdown(report), render_html(report)):
        assert "37 other nodes" in shown
        assert "spare-17" not in shown


@pytest.mark.parametrize(
    ("risk", "level"),
    [
        (sound("spare-05", 0.3), RiskLevel.ELEVATED),
        (sound("spare-05", 0.7), RiskLevel.TRIGGERED),
        (None, RiskLevel.UNKNOWN),
    ],
)
def test_a_node_that_nobody_empties_and_that_is_not_well_has_its_row(risk: Risk | None, level: RiskLevel) -> None:
    fleet = large_fleet(20)
    risks = [*scene.risks(), *(sound(f"spare-{n:02d}") for n in range(20) if n != 5), *([risk] if risk else [])]
    shown = relevant_nodes(dry_run(fleet, risks)).shown
    assert [(node.name, node.level) for node in shown] == [("node-a", RiskLevel.TRIGGERED), ("spare-05", level)]


def test_what_many_nodes_lack_is_one_line_and_unknown_is_counted() -> None:
    report = dry_run(large_fleet(30), scene.risks())
    lines = [line for line in report.unknowns if "risk is unknown" in line]
    assert lines == ["spare-00, spare-01, spare-02 and 27 more: their risk is unknown: no risk is known"]
    assert "18 of unknown risk" in on_terminal(report, 100), "12 have their row, the others are counted"


def test_what_a_large_fleet_lacks_while_prometheus_is_away_is_one_line() -> None:
    away = tuple(f"signal_{n}: Prometheus is unreachable" for n in range(119))
    own = "psu: two series"
    risks = [*scene.risks(), *(sound(f"spare-{n:02d}").model_copy(update={"unknown": away}) for n in range(30))]
    risks[-1] = risks[-1].model_copy(update={"unknown": (*away, own)})
    lines = [line for line in dry_run(large_fleet(30), risks).unknowns if "risk is unknown" not in line]
    assert (
        "spare-00, spare-01, spare-02 and 27 more: signal_0, signal_1, signal_2 and 116 more: Prometheus is unreachable"
        in lines
    )
    assert f"spare-29: {own}" in lines
    assert sum("Prometheus is unreachable" in line for line in lines) == 1


def test_a_group_tells_the_highest_of_its_risks() -> None:
    risks = [*scene.risks(), *(sound(f"spare-{n:02d}", 0.001 * n) for n in range(10))]
    others = relevant_nodes(dry_run(large_fleet(10), risks)).groups[-1]
    assert others.probability["2h"] == pytest.approx(0.009)


@pytest.mark.parametrize(
    ("signal", "why", "words"),
    [
        ("psu1_12v", "falling", "psu1 12v: falling"),
        ("psu_12v_volts", "PSU1 12 V: 11.52 V, falling", "PSU1 12 V: 11.52 V, falling"),
        ("fan", "3 of 6 fans stopped", "3 of 6 fans stopped"),
        ("event:ecc", "40 corrected errors", "event:ecc: 40 corrected errors"),
        ("smart_wear", "", "smart wear"),
        ("", "rising", "rising"),
        ("", "", ""),
    ],
)
def test_a_bare_word_is_told_with_its_signal(signal: str, why: str, words: str) -> None:
    assert Driver(signal=signal, why=why).words == words


def test_the_headline_of_a_plan_from_files_names_what_is_falling() -> None:
    first, *rest = scene.risks()
    report = dry_run(risks=[first.model_copy(update={"drivers": (Driver(signal="psu1_12v", why="falling"),)}), *rest])
    assert "because psu1 12v: falling;" in report.headline


def test_the_decision_comes_first() -> None:
    report = dry_run()
    assert report.decision == "Approve or reject: evacuate node-a: 3 move live and 2 are stopped and archived."
    assert render_markdown(report).split("\n\n")[1] == f"**{report.decision}**", "after the mark of what is simulated"
    shown = " ".join(on_terminal(report, 120).split())
    assert shown.index("Approve or reject") < shown.index("is forecast to fail")


def test_the_decision_on_a_refused_plan_is_not_to_approve_it() -> None:
    assert dry_run(failing="limits").decision == "Refused, nothing will move off node-a: see the broken rules."


def test_what_can_not_be_moved_is_named_first_the_most_important_ahead() -> None:
    fleet = scene.fleet()
    plan = scene.plan(fleet)
    stay = [
        a.model_copy(update={"kind": ActionKind.STAY, "target": None, "reason": "no room"})
        if a.vm_name in ("web-1", "inference-2")
        else a
        for a in plan.actions
    ]
    report = dry_run(fleet, plan=plan.model_copy(update={"actions": tuple(stay)}))
    assert report.decision.startswith("2 vms can't be moved: inference-2 and web-1. Approve or reject")
    shown = on_terminal(report, 80)
    assert shown.index("inference-2 (high) stays on node-a: no room") < shown.index("30 min")


def test_nothing_to_decide() -> None:
    fleet = scene.fleet()
    plan = scene.plan(fleet).model_copy(update={"actions": (), "evacuating": ()})
    assert dry_run(fleet, plan=plan).decision == "Nothing to decide."


def test_a_plan_that_policy_approves_asks_nobody() -> None:
    fleet = scene.fleet()
    plan = scene.plan(fleet)
    verdict = scene.verdict(plan).model_copy(update={"approval": Approval.NONE})
    report = build_report(scene.situation(fleet, now=scene.at(5)), plan, verdict, now=scene.at(5))
    assert report.decision.startswith("Policy lets this run: evacuate node-a")


def words_broken(shown: str, words: set[str]) -> set[str]:
    there = set(re.split(r"[\s│─╭╮╰╯]+", shown))
    return {word for word in words if word not in there}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(60, 220),
    names=st.lists(st.from_regex(r"[a-z]{1,12}(-[a-z0-9]{1,9}){0,3}", fullmatch=True), min_size=5, max_size=5),
    reason=st.lists(st.from_regex(r"[a-z]{1,14}", fullmatch=True), min_size=1, max_size=24),
)
def test_no_line_is_too_long_and_no_word_is_broken(width: int, names: list[str], reason: list[str]) -> None:
    names = [f"{name[:34]}-{n}" for n, name in enumerate(names)]
    here = ("inference-1", "inference-2", "web-1", "batch-1", "batch-2")
    of: dict[str, str] = dict(zip(here, names, strict=True))
    fleet = scene.fleet(vm_names=of)
    plan = scene.plan(fleet)
    plan = plan.model_copy(
        update={"actions": tuple(a.model_copy(update={"reason": " ".join(reason)}) for a in plan.actions)}
    )
    shown = on_terminal(dry_run(fleet, plan=plan), width)
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width
    assert words_broken(shown, {*names, *reason}) == set()


def test_a_wide_terminal_gives_each_move_one_line() -> None:
    report = dry_run()
    wide, narrow = on_terminal(report, 150), on_terminal(report, 80)
    assert re.search(r"inference-1 .*most room, no shared rack", wide)
    assert re.search(r"inference-1 [^\n]*\n {4}most room, no shared rack", narrow)


def test_a_wide_terminal_tells_every_driver_of_a_risk() -> None:
    wide, narrow = on_terminal(dry_run(), 130), on_terminal(dry_run(), 80)
    assert "PSU1 12 V: 11.52 V" in narrow
    assert "PSU1 temperature" not in narrow
    assert re.search(r"node-a .*PSU1 12 V: 11.52 V.*; PSU1 temperature: 58 °C", wide.replace("\n", " "))


def test_a_phone_gets_charts_of_its_own_and_healthy_nodes_are_not_named_one_by_one() -> None:
    page = render_html(dry_run(large_fleet(20), [*scene.risks(), *(sound(f"spare-{n:02d}") for n in range(20))]))
    charts = re.findall(r'<svg class="chart (wide|narrow)-page".*?</svg>', page, re.DOTALL)
    assert charts == ["wide", "narrow"] * 2, "each chart twice, and the style sheet shows the one that fits"
    widths = {
        kind: float(x) for kind, x in re.findall(r'chart (wide|narrow)-page".*?viewBox="0 0 ([\d.]+)', page, re.DOTALL)
    }
    assert widths["narrow"] < 300 < widths["wide"], "points: text is as large on 390 pixels as on a desk"
    (risk, *_) = re.findall(r'<svg class="chart wide-page".*?</svg>', page, re.DOTALL)
    assert "node-a" in risk
    assert "22 others" in risk
    assert "spare-00" not in risk


def test_markdown_is_readable_as_it_is() -> None:
    shown = render_markdown(dry_run())
    assert "| inference-1 | high | live | node-a → node-b | 7.5 s | 150 ms | most room, no shared rack |" in shown
    assert "### Guard\n\n- passed, 6 rules kept\n- approval: human, cold_archive asks" in shown


def test_every_cell_of_the_page_names_its_column_for_a_phone() -> None:
    page = render_html(dry_run())
    rows = re.findall(r"<tr[^>]*><th scope=\"row\">.*?</tr>", page, re.DOTALL)
    figures = [cell for row in rows for cell in re.findall(r"<td class=\"number\"[^>]*>", row)]
    assert figures
    assert all("data-label=" in cell for cell in figures)
