"""What the background agent says of itself over HTTP, from passes over a simulated fleet."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from scenes.approvals import PEOPLE
from scenes.hostile import EVERY
from scenes.simulated_world import POLICY, World

from agent.actions.progress import Progress
from agent.approve.approvers import DenyingApprover
from agent.approve.proposals import answer, open_questions
from agent.execute.evacuation import Watcher
from agent.llm.choose import planner_named
from agent.llm.record import LlmDirectory
from agent.service.control_loop import ControlLoop
from agent.service.observability.archive_metrics import ArchiveMetrics
from agent.service.observability.job_metrics import JobMetrics
from agent.service.observability.observability import Observability
from agent.service.people.questions import Questions
from agent.service.upkeep.archive_checks import ArchiveChecks
from agent.service.upkeep.jobs import JobCounts
from agent.settings import Settings
from models.errors import BadInput, LifeboatError, MetricsUnavailable
from models.fleet import Fleet
from models.plan import Action, ActionKind
from models.policy.approvers import ApproverRule
from models.policy.policy import ApprovalPolicy, Policy
from models.proposals.states import EventKind
from models.risk.risk import Driver, Risk
from models.situation import Situation
from tools.libvirt.given_up import GivenUp
from tools.ports.records.brake import BreakerTripped

ROOT = Path(__file__).parents[5]
INTERVAL = 30.0


class Agent:
    """Passes over a simulated fleet, observed; and what it says over a socket."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.failing: tuple[str, ...] = ()
        self.error: Exception | None = None
        self.why = "the power supply flutters"
        self.seen: Situation | None = None
        self.loop = ControlLoop(
            hands=world.hands, policy=POLICY, look=self._look, planner=planner_named("solver", None),
            approver=DenyingApprover(),
        )  # fmt: skip
        self.told = Observability(
            journal=world.journal, clock=world.fleet.clock, seen=lambda: self.seen, tiers=self.loop.tiers, holder=lambda: None,
            llm=world.directory / "llm", interval_seconds=INTERVAL,
        )  # fmt: skip
        checks = ArchiveChecks(Settings(), world.journal, world.fleet.clock)
        self.told.metrics.registry.register(ArchiveMetrics(checks, world.fleet.clock))
        self.told.metrics.registry.register(JobMetrics(JobCounts()))
        self.given_up = GivenUp("abc")
        self.told.metrics.given_up = self.given_up.counts

    def _look(self) -> tuple[Fleet, list[Risk]]:
        if self.error is not None:
            raise self.error
        fleet, risks = self.world.snapshot(), self.world.risks(self.failing)
        driver = Driver(signal="psu_12v_volts", why=self.why)
        shown = [risk.model_copy(update={"drivers": (driver,)}) for risk in risks]
        self.seen = Situation(fleet=fleet, risks=shown, policy=POLICY, now=self.world.fleet.clock.now())
        return fleet, risks

    def passes(self, count: int = 1) -> None:
        for _ in range(count):
            self.told.began()
            try:
                result = self.loop.run_once()
            except LifeboatError as error:
                self.told.failed(error)
            else:
                self.told.ended(result)

    def get(self, path: str) -> tuple[int, str]:
        with self.told.serving(0) as port:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        _, text = self.get("/metrics")
        return {
            sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    world = World(tmp_path)
    yield Agent(world)
    world.journal.close()


def test_an_evacuation_and_a_failed_look_are_counted(agent: Agent) -> None:
    agent.passes()
    agent.failing = ("a",)
    agent.passes()
    agent.error = MetricsUnavailable("Prometheus does not answer")
    agent.passes(2)
    told = agent.metrics()
    assert told["lifeboat_passes_total outcome=quiet"] == 1
    assert told["lifeboat_passes_total outcome=evacuated"] == 1
    assert told["lifeboat_pass_failures_total code=metrics-unavailable"] == 2
    assert told["lifeboat_plans_total verdict=passed"] == 1
    assert told["lifeboat_attempts_total kind=live_migrate outcome=done"] > 0
    assert told["lifeboat_attempts_total kind=live_migrate outcome=indeterminate"] == 0
    assert told["lifeboat_nodes level=risky"] == 1
    assert told["lifeboat_node_failure_probability horizon=2h node=a"] > 0.5
    assert told["lifeboat_breaker_tripped"] == told["lifeboat_evacuations_running"] == 0


def test_questions_that_a_node_did_not_answer_are_counted_by_node(agent: Agent) -> None:
    def told() -> list[float]:
        metrics = agent.metrics()
        return [metrics[f"lifeboat_libvirt_questions_given_up_total node={node}"] for node in "abc"]

    assert told() == [0, 0, 0], "from the start: one that begins at 1 has never increased, for Prometheus"
    agent.given_up.note("b")
    assert told() == [0, 1, 0]


def test_what_another_process_moves_is_counted_from_the_journal_too(agent: Agent) -> None:
    agent.passes()
    assert agent.metrics()["lifeboat_evacuations_total outcome=done"] == 0
    agent.world.evacuate()
    told = agent.metrics()
    assert told["lifeboat_evacuations_total outcome=done"] == 1
    assert told["lifeboat_attempts_total kind=live_migrate outcome=done"] == 2
    assert told["lifeboat_attempt_duration_seconds_count kind=live_migrate"] == 2
    assert told["lifeboat_guest_pause_seconds_count"] == 2
    again = {name: value for name, value in agent.metrics().items() if not name.startswith("process_")}
    assert again.items() <= told.items(), "and once"


def test_answers_are_counted_with_how_long_they_took(agent: Agent) -> None:
    world, clock = agent.world, agent.world.fleet.clock
    agent.loop.policy = policy = Policy(approval=ApprovalPolicy(people=PEOPLE, approvers=(ApproverRule(may=("ana",)),)))
    agent.loop.questions = Questions(hands=world.hands, policy=policy)
    agent.failing = ("a",)
    agent.passes()
    (asked,) = open_questions(world.journal, clock)
    clock.sleep(400)
    told = agent.metrics()
    assert (told["lifeboat_questions_open"], told["lifeboat_oldest_question_age_seconds"]) == (1, 400)
    assert told["lifeboat_tier_nodes tier=evacuate"] == 1
    assert told["lifeboat_oldest_data_age_seconds"] == 401
    answer(world.journal, asked.id, EventKind.REJECT, by="terminal:ana", policy=policy, clock=clock)
    told = agent.metrics()
    assert told["lifeboat_questions_decided_total outcome=rejected"] == 1
    assert told["lifeboat_question_answer_seconds_sum"] == 400
    assert told["lifeboat_questions_open"] == told["lifeboat_oldest_question_age_seconds"] == 0


def test_tokens_and_their_cost_only_ever_rise_though_a_day_ends(tmp_path: Path) -> None:
    world = World(tmp_path)
    clock, llm = world.fleet.clock, LlmDirectory(tmp_path / "llm")
    llm.spend(7_000_000, 0, clock.now())
    told = Observability(
        journal=world.journal, clock=clock, seen=lambda: None, tiers=dict, holder=lambda: None, llm=llm.path,
        interval_seconds=INTERVAL, prices=(2.0, 10.0),
    )  # fmt: skip

    def scraped() -> list[float]:
        values = {
            sample.name + "".join(sample.labels.values()): sample.value
            for family in text_string_to_metric_families(told.metrics.text().decode())
            for sample in family.samples
        }
        name = "lifeboat_language_model"
        wanted = ("tokens_totalprompt", "tokens_totalcompletion", "cost_total", "tokens_todayprompt", "cost_today")
        return [values[f"{name}_{each}"] for each in wanted]

    assert scraped() == [0, 0, 0, 7_000_000, 14], "what was used before it started is the past"
    llm.spend(1_000_000, 500_000, clock.now())
    assert scraped() == [1_000_000, 500_000, 7, 8_000_000, 21]
    clock.sleep(24 * 3600)
    assert scraped() == [1_000_000, 500_000, 7, 0, 0], "the day's begin anew, these go on"
    llm.spend(1_000_000, 0, clock.now())
    assert scraped() == scraped() == [2_000_000, 500_000, 9, 1_000_000, 2]
    world.journal.close()


def test_it_is_ready_once_it_has_looked_and_not_when_that_is_long_ago(agent: Agent) -> None:
    assert agent.get("/readyz")[0] == 503
    agent.passes()
    assert agent.get("/readyz") == (200, "ready\n")
    agent.error = MetricsUnavailable("Prometheus does not answer")
    agent.passes()
    assert agent.get("/readyz")[0] == 200, "one look that failed is no reason to send somebody"
    agent.world.fleet.clock.sleep(6 * INTERVAL)
    agent.passes()
    status, why = agent.get("/readyz")
    assert status == 503
    assert "Prometheus does not answer" in why
    assert agent.get("/healthz")[0] == 200


def test_while_it_looks_for_the_first_time_it_is_ready_and_says_that_it_knows_nothing_yet(agent: Agent) -> None:
    clock = agent.world.fleet.clock
    agent.told.began()
    clock.sleep(2 * INTERVAL)
    assert agent.get("/readyz") == (200, "ready: looking for the first time, for 1 min\n")
    assert "Nothing is known of the fleet yet" in agent.get("/")[1]
    told = agent.metrics()
    assert told["lifeboat_last_look_age_seconds"] == float("inf")
    assert not [name for name in told if name.startswith("lifeboat_nodes ")]
    assert told["lifeboat_first_look_running"] == 1.0, "so that nobody is called"
    clock.sleep(4 * INTERVAL)
    assert agent.get("/readyz")[0] == 503, "a first look that never ends is none"
    assert agent.metrics()["lifeboat_first_look_running"] == 0.0, "and somebody is"
    agent.told.failed(MetricsUnavailable("Prometheus does not answer"))
    agent.told.began()
    assert agent.get("/readyz")[0] == 503, "the next one is not the first"


def test_risks_are_those_of_the_newest_look(agent: Agent) -> None:
    agent.passes()
    assert agent.metrics()["lifeboat_nodes level=risky"] == 0
    agent.failing = ("a",)
    agent.passes()
    for _ in range(2):
        assert agent.metrics()["lifeboat_nodes level=risky"] == 1


def test_the_page_shows_what_an_operator_looks_for(agent: Agent) -> None:
    agent.failing = ("a",)
    agent.passes()
    agent.world.journal.append(
        BreakerTripped(rule="storm", why="half the fleet looks ill"), now=agent.world.fleet.clock.now()
    )
    _, page = agent.get("/")
    for words in ("The breaker is tripped", "half the fleet looks ill", "the power supply flutters", "evacuated"):
        assert words in page
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!/metrics)", page), "the page fetches nothing"


def test_the_page_says_how_far_each_move_is_and_how_old_that_is(agent: Agent) -> None:
    clock, shown = agent.world.fleet.clock, list[str]()

    def look_at_the_page(progress: Progress) -> None:
        if progress.action.vm_name == "db" and progress.copy is not None and progress.fraction and not shown:
            clock.sleep(1)
            shown.append(agent.told.page())
            agent.told.moves.take(replace(progress, phase="verifying"))
            shown.append(agent.told.page())

    agent.loop.watcher = agent.told.moves.watched(Watcher(on_progress=look_at_the_page))
    agent.failing = ("a",)
    agent.passes()
    page, verifying = shown
    copied = re.search(r"db</b>: live migrate, a → [bc]<br>\s*copying <progress[^>]*></progress> (\d+) %", page)
    assert copied
    assert 0 < int(copied[1]) <= 100
    assert re.search(r"left at [\d.]+ .iB/s", page)
    assert "no pause so far" in page
    assert re.search(r"read [1-9][\d.]* s ago", page)
    assert "read " not in agent.told.page(), "what is over has no reading"
    assert "its pause at switchover is told once the move has ended" in verifying


def test_a_guest_that_was_stopped_to_be_moved_is_said_to_stand_still_and_for_how_long(agent: Agent) -> None:
    clock, moves = agent.world.fleet.clock, agent.told.moves
    action = Action(
        kind=ActionKind.COLD_MIGRATE, vm="u", vm_name="web", source="a", target="b", reason="its node fails"
    )
    for phase in ("checking", "stopping", "copying"):
        moves.take(Progress(attempt="evac-1-000", action=action, phase=phase))
        clock.sleep(30)
    (reading,) = moves.readings
    assert (reading.seconds, reading.age_seconds, reading.still_seconds) == (90, 30, 30)
    moves.end("evac-1-000")
    moves.take(Progress(attempt="evac-1-001", action=action, phase="copying"))
    (reading,) = moves.readings
    assert reading.still_seconds is None, "it was off before"


def test_a_look_that_is_not_over_is_said(agent: Agent) -> None:
    agent.passes()
    agent.world.fleet.clock.sleep(INTERVAL)
    agent.told.began()
    agent.world.fleet.clock.sleep(125)
    assert (
        "A look has been under way for 2 min 5 s and is not over: the risks are those of the one before"
        in agent.told.page()
    )
    agent.loop.look()
    assert "is not over" not in agent.told.page(), "the look is; the pass goes on"


def test_outside_words_stay_text_on_the_page(agent: Agent) -> None:
    agent.failing = ("a",)
    agent.passes()
    for text in EVERY:
        assert agent.seen
        driver = Driver(signal="psu_12v_volts", why=text)
        told = [risk.model_copy(update={"drivers": (driver,)}) for risk in agent.seen.risks or ()]
        agent.seen = replace(agent.seen, risks=told)
        page = agent.told.page()
        assert "<img" not in page
        assert "<script" not in page
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", page)


def test_a_journal_that_can_not_be_read_is_said_and_ends_nothing(agent: Agent) -> None:
    agent.world.journal.close()
    status, _ = agent.get("/metrics")
    assert status == 500
    assert agent.get("/healthz")[0] == 200
    assert agent.get("/nothing")[0] == 404


def test_a_port_that_is_taken_is_one_line(agent: Agent) -> None:
    with agent.told.serving(0) as port, pytest.raises(BadInput, match=f"status.port {port}"), agent.told.serving(port):
        pass


def test_each_alert_asks_for_series_that_there_are(agent: Agent) -> None:
    agent.passes()
    there = {name.split(" ")[0] for name in agent.metrics()} | {"lifeboat_pass_failures_total", "up"}
    rules = yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())["groups"][0]["rules"]
    for rule in rules:
        assert set(re.findall(r"\b(?:lifeboat_\w+)", rule["expr"])) <= there, rule["alert"]


def test_the_page_of_metrics_and_the_agent_name_the_same(agent: Agent) -> None:
    agent.failing = ("a",)
    agent.passes()
    page = (ROOT / "docs/observability.md").read_text()
    reference = (ROOT / "docs/reference/metrics.md").read_text()
    shown = re.findall(r"^\| `(lifeboat_\w+)", reference, re.MULTILINE)
    named = {name.removesuffix("_total") for name in shown}
    _, text = agent.get("/metrics")
    told = {name for family in text_string_to_metric_families(text) if not (name := family.name).startswith("process_")}
    assert named == told
    mentioned = set(re.findall(r"`(lifeboat_\w+)", page))
    assert mentioned <= set(shown), "what the page speaks of, there is"
    alerts = {rule["alert"] for rule in yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())["groups"][0]["rules"]}
    assert alerts == set(re.findall(r"`(Lifeboat\w+)`", page))


@pytest.mark.slow
def test_each_alert_fires_and_none_on_a_healthy_agent(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here: it comes with Debian's package prometheus")
    shutil.copy(ROOT / "deploy/alerts.yaml", tmp_path)
    shutil.copy(ROOT / "tests/scenes/alerts_test.yaml", tmp_path)
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(
            ["promtool", *command], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_of_metrics_is_as_prometheus_wants_it(agent: Agent) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here: it comes with Debian's package prometheus")
    agent.failing = ("a",)
    agent.passes(2)
    _, text = agent.get("/metrics")
    done = subprocess.run(
        ["promtool", "check", "metrics"], check=False, input=text, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_pass_that_takes_longer_than_the_interval_is_counted(agent: Agent) -> None:
    agent.passes()
    slow = agent.loop.look

    def late() -> tuple[Fleet, list[Risk]]:
        agent.world.fleet.clock.sleep(INTERVAL + 1)
        return slow()

    agent.loop.look = late
    agent.passes()
    assert agent.metrics()["lifeboat_slow_passes_total"] == 1
