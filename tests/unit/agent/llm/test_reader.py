"""The reader of notes: one word for each, kept, one note at a time; whatever it says, a plan only gets more careful."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import evacuations as scene
from scenes.dripping_server import dripping
from scenes.stub_openai import Answer, Endpoint, serving

from agent.guard.judge import judge
from agent.llm.reader import WORDS, LogLineReader, NoteReader, as_events, with_troubles_told
from agent.llm.record import LlmDirectory
from agent.plan import solver
from agent.settings import LlmSettings
from models.fleet import Fleet
from models.knowledge import NoteWord, VmNote
from models.notes import CAREFUL, with_notes_heeded
from models.plan import ActionKind, Plan
from models.risk.signal import Component

PATIENCE = 30.0
MONTH_END = "Accounts are closed until Friday, keep it up"
BATCH, OTHER = scene.fleet().vms[3].uuid, scene.fleet().vms[4].uuid


def noted(**notes: str) -> Fleet:
    """The scene, whose guests have these notes: by name, with _ for -."""
    fleet = scene.fleet()
    return fleet.model_copy(
        update={
            "vms": tuple(vm.model_copy(update={"note": notes.get(vm.name.replace("-", "_"), "")}) for vm in fleet.vms)
        }
    )


def answers(word: Callable[[str], str]) -> Callable[[dict[str, Any]], Answer]:
    """A server whose model says this of each note."""
    return lambda body: {"role": "assistant", "content": word(json.loads(body["messages"][1]["content"])["note"])}


def sorted_by(note: str) -> str:
    return json.dumps({"word": "month-end" if "Accounts" in note else "nothing"})


def reader_of(endpoint: Endpoint, directory: Path, **more: Any) -> NoteReader:
    llm = LlmSettings.model_validate({"base_url": endpoint.url, "model": "m", **more})
    return NoteReader(llm=llm, directory=LlmDirectory(directory))


def words(reader: NoteReader, fleet: Fleet) -> dict[str, str]:
    return {note.vm: note.word.value for note in reader.notes(fleet, patience_seconds=PATIENCE)}


def stopped(plan: Plan) -> set[str]:
    return {action.vm for action in plan.moves if action.kind is not ActionKind.LIVE_MIGRATE}


def test_a_note_becomes_a_word_and_its_guest_is_not_archived(tmp_path: Path) -> None:
    fleet = noted(batch_1=MONTH_END, batch_2="rack 4, owned by Ana")
    with serving(answers(sorted_by)) as endpoint:
        reader = reader_of(endpoint, tmp_path)
        assert words(reader, fleet) == {BATCH: "month-end"}
        heeded = reader.heeded(fleet)
        assert len(endpoint.requests) == 2, "each note once"
        assert words(reader_of(endpoint, tmp_path), fleet) == {BATCH: "month-end"}, "kept over a restart"
        assert len(endpoint.requests) == 2
    assert BATCH in stopped(solver.plan(scene.situation(fleet), ("node-a",)))
    plan = solver.plan(scene.situation(heeded), ("node-a",))
    assert BATCH not in stopped(plan)
    assert OTHER in stopped(plan)
    assert judge(plan, scene.situation(heeded)).passed


def test_it_is_asked_about_one_note_at_a_time_with_no_tool(tmp_path: Path) -> None:
    with serving(answers(sorted_by)) as endpoint:
        words(reader_of(endpoint, tmp_path), noted(batch_1=MONTH_END, batch_2="another's"))
    assert all("tools" not in request for request in endpoint.requests)
    assert [json.loads(r["messages"][1]["content"]) for r in endpoint.requests] == [
        {"note": MONTH_END},
        {"note": "another's"},
    ]
    kept = [path.read_text() for path in tmp_path.glob("*.json")]
    assert sum(MONTH_END in text and "read_note.v1" in text for text in kept) == 1, "what was said is recorded"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "nothing",
        '{"word": "may-stop"}',
        '{"word": "nothing", "and": "stop vm-2"}',
        '{"word": ["nothing"]}',
        "[]",
        "<html>",
    ],
)
def test_what_is_no_word_of_the_list_is_unclear(answer: str, tmp_path: Path) -> None:
    with serving(answers(lambda _: answer)) as endpoint:
        assert words(reader_of(endpoint, tmp_path), noted(batch_1="x")) == {BATCH: "unclear"}


def test_without_an_answer_or_a_budget_notes_are_unclear_and_nobody_waits(tmp_path: Path) -> None:
    fleet = noted(batch_1=MONTH_END, batch_2=MONTH_END + "!")
    with serving(lambda _: 429) as endpoint:
        reader = reader_of(endpoint, tmp_path)
        assert words(reader, fleet) == {BATCH: "unclear", OTHER: "unclear"}
        assert "429" in reader.problem
        words(reader, fleet)
        assert len(endpoint.requests) == 1, "a server that can't is left alone for a while"
    with serving(answers(sorted_by)) as endpoint:
        LlmDirectory(tmp_path).spend(10, 0, scene.datetime.now(scene.UTC))
        reader = reader_of(endpoint, tmp_path, tokens_per_day=5)
        assert words(reader, fleet) == {BATCH: "unclear", OTHER: "unclear"}
        assert endpoint.requests == []
        assert "budget" in reader.problem


@settings(max_examples=8, deadline=None)
@given(
    said=st.lists(
        st.tuples(st.sampled_from([vm.uuid for vm in scene.fleet().vms]), st.sampled_from(NoteWord)), max_size=7
    )
)
def test_whatever_the_words_nobody_is_stopped_who_was_not_before(said: list[tuple[str, NoteWord]]) -> None:
    fleet = scene.fleet()
    heeded = with_notes_heeded(fleet, [VmNote(vm=vm, word=word) for vm, word in said])
    for before, after in zip(fleet.vms, heeded.vms, strict=True):
        assert after == before or after == before.model_copy(update={"cold_archive_allowed": False})
    spoken = {vm for vm, word in said if word in CAREFUL}
    assert all(
        after == before for before, after in zip(fleet.vms, heeded.vms, strict=True) if before.uuid not in spoken
    )
    assert stopped(solver.plan(scene.situation(heeded), ("node-a",), optimise=False)) <= stopped(
        solver.plan(scene.situation(fleet), ("node-a",), optimise=False)
    )


LINES = {"node-a": ["kernel mlx5 * port module error event cable", "systemd Started session *"], "node-b": []}


def test_a_line_that_no_pattern_names_is_told_to_people_and_to_the_model_and_is_in_no_risk(tmp_path: Path) -> None:
    def word(body: dict[str, Any]) -> Answer:
        line = json.loads(body["messages"][1]["content"])["line"]
        return {"role": "assistant", "content": json.dumps({"word": "network" if "cable" in line else "harmless"})}

    with serving(word) as endpoint:
        llm = LlmSettings(base_url=endpoint.url, model="m")
        reader = LogLineReader(llm=llm, directory=LlmDirectory(tmp_path))
        assert reader.troubles({"node-b": []}) == {}
        troubles = reader.troubles(LINES, patience_seconds=PATIENCE)
        assert troubles == {"node-a": {Component.NETWORK: 1}}
        assert all("tools" not in request for request in endpoint.requests)
    before = scene.risks()
    after = with_troubles_told(before, troubles)
    assert "1 kind of line" in after[0].unknown[-1]
    assert "trouble of network" in after[0].unknown[-1]
    assert [risk.model_copy(update={"unknown": ()}) for risk in after] == [
        risk.model_copy(update={"unknown": ()}) for risk in before
    ]
    (event,) = as_events(troubles, scene.at(0))
    assert (event.node, event.component, event.kind) == ("node-a", Component.NETWORK, "other")


def test_a_line_that_was_not_read_or_says_anything_else_is_no_trouble(tmp_path: Path) -> None:
    with serving(lambda _: {"role": "assistant", "content": '{"word": "evacuate"}'}) as endpoint:
        reader = LogLineReader(llm=LlmSettings(base_url=endpoint.url, model="m"), directory=LlmDirectory(tmp_path))
        assert reader.troubles(LINES, patience_seconds=PATIENCE) == {}


def test_it_may_use_no_word_that_allows_more() -> None:
    assert not {"may-stop", "replicated", "less-important", "more-important"} & set(WORDS)


def test_a_server_that_drips_is_given_up_and_the_next_note_is_read(tmp_path: Path) -> None:
    with dripping(b"HTTP/1.1 200 OK\r\n", b"x-more: yes\r\n") as url:
        directory = LlmDirectory(tmp_path)
        reader = NoteReader(
            llm=LlmSettings.model_validate({"base_url": url, "model": "m", "timeout_seconds": 0.3}), directory=directory
        )
        assert words(reader, noted(batch_1=MONTH_END)) == {BATCH: "unclear"}
    assert "within 0.3 s" in reader.problem
