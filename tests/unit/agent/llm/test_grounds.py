"""A plan may cost more than the solver's by the figures only where something is known that the figures do not hold."""

from __future__ import annotations

import pytest
from scenes import evacuations as scene

from agent.llm.draft import DraftDecision
from agent.llm.grounds import WITHOUT_GROUNDS
from agent.llm.task import PlanTask
from agent.plan import solver
from models.knowledge import Aftermath, Knowledge, NoteWord, PastEvacuation, PlannedWork, VmNote

FLEET = scene.fleet()
BATCH = FLEET.vms[3].uuid
KEEP_RUNNING = [DraftDecision(vm="vm-4", action="live_migrate", target="node-2")]
LEAVE = [DraftDecision(vm="vm-3", action="stay", reason="no need")]
SOLVERS_TARGETS = {a.target for a in solver.plan(scene.situation(FLEET), ("node-a",)).moves if a.target}


def past(aftermath: Aftermath) -> Knowledge:
    return Knowledge(past=(PastEvacuation(node="node-a", at=scene.at(-86_400), aftermath=aftermath),))


def note(word: NoteWord, until: float | None = None) -> Knowledge:
    return Knowledge(notes=(VmNote(vm=BATCH, word=word, until=None if until is None else scene.at(until)),))


def ratio(decisions: list[DraftDecision], known: Knowledge) -> float:
    situation = scene.situation(FLEET)
    task = PlanTask(situation, solver.plan(situation, ("node-a",)), (), known)
    verdict = task.judge_plan(decisions, task.alternatives[0].name)
    return round(verdict.most_expected_loss / verdict.solver_expected_loss, 3)


@pytest.mark.parametrize(
    ("decisions", "known", "most"),
    [
        pytest.param(KEEP_RUNNING, Knowledge(), WITHOUT_GROUNDS, id="nothing-known"),
        pytest.param(KEEP_RUNNING, note(NoteWord.MONTH_END), 1.25, id="a-note-on-it"),
        pytest.param(KEEP_RUNNING, note(NoteWord.MONTH_END, -1), WITHOUT_GROUNDS, id="a-note-that-is-over"),
        pytest.param(KEEP_RUNNING, past(Aftermath.LIVED), 1.25, id="a-node-that-lived-on"),
        pytest.param(KEEP_RUNNING, past(Aftermath.FAILED), WITHOUT_GROUNDS, id="a-node-that-failed"),
        pytest.param(LEAVE, Knowledge(), WITHOUT_GROUNDS, id="left-for-nothing"),
        pytest.param(LEAVE, past(Aftermath.LIVED), WITHOUT_GROUNDS, id="doubt-leaves-nobody"),
        pytest.param(KEEP_RUNNING + LEAVE, note(NoteWord.SOLE_COPY), WITHOUT_GROUNDS, id="a-note-on-another"),
        pytest.param(
            [DraftDecision(vm=f"vm-{n}", action="live_migrate", target=f"node-{3 - n % 2}") for n in (1, 2, 3)],
            Knowledge(planned_work=tuple(
                PlannedWork(node=node, start=scene.at(60), end=scene.at(99)) for node in sorted(SOLVERS_TARGETS)
            )),
            1.25,
            id="work-on-the-solvers-target",
        ),
    ],
)  # fmt: skip
def test_how_much_more_a_plan_may_lose(decisions: list[DraftDecision], known: Knowledge, most: float) -> None:
    assert ratio(decisions, known) == pytest.approx(most, abs=2e-3)
