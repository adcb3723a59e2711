"""The report of what was approved is in the thread of its question, once."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from scenes.approvals import ALONE, NOON, ask_about
from scenes.slack_office import Office

from agent.approve.proposals import answer
from models.proposals.states import EventKind
from tools.ports.records.chat import ChatFileIntended, ChatFileShown, ReportWritten

PAGE = b"<!doctype html><title>Report</title>"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.approve.slack.view._BACK_OFF", (0.0, 0.0))


def write_report(office: Office, name: str = "evac-1") -> None:
    path = office.directory / f"{name}.html"
    path.write_bytes(PAGE)
    written = ReportWritten(path=str(path), sha256=hashlib.sha256(PAGE).hexdigest(), size=len(PAGE))
    office.journal.append(written, now=office.clock.now(), evacuation=name)


def over(office: Office) -> None:
    """A question that was asked and answered, and its report."""
    office.ask()
    answer(office.journal, "evac-1", EventKind.REJECT, by="terminal:tom", policy=ALONE, clock=office.clock, why="no")
    write_report(office)


def files(office: Office) -> list[tuple[str | None, bytes | None]]:
    return [(each.thread_ts, each.content) for each in office.workspace.uploads.values()]


def test_it_is_there_once_whoever_looks(office: Office) -> None:
    views = [office.lifeboat(), office.lifeboat()]
    over(office)
    question = office.newest.ts
    for view in views * 2:
        view.look()
    assert files(office) == [(question, PAGE)]
    (shown,) = office.journal.of(ChatFileShown)
    assert (shown.record.place, shown.record.sha256) == (question, hashlib.sha256(PAGE).hexdigest())
    assert office.newest.thread_ts == question


def test_it_waits_for_a_slack_that_is_away_and_for_who_was_killed_over_it(office: Office) -> None:
    view = office.lifeboat()
    over(office)
    view.look()
    office.journal.append(
        ReportWritten(path=str(office.directory / "evac-1.html"), sha256=hashlib.sha256(PAGE).hexdigest(), size=len(PAGE)),
        now=office.clock.now(), evacuation="evac-1",
    )  # fmt: skip
    office.journal.append(ChatFileIntended(uptime=office.clock.uptime()), now=NOON, evacuation="evac-1")
    office.workspace.uploads.clear()
    view.look()
    assert not files(office), "whoever meant to may be about to"
    office.clock.sleep(61)
    office.slack.down = True
    view.look()
    office.slack.down = False
    view.look()
    assert [content for _, content in files(office)] == [PAGE]


def test_what_slack_refuses_for_good_is_said_in_the_thread_and_not_tried_again(office: Office) -> None:
    view = office.lifeboat()
    over(office)
    office.workspace.fail("files.getUploadURLExternal", "missing_scope")
    view.look()
    assert "evac-1.html" in office.newest.shown
    (shown,) = office.journal.of(ChatFileShown)
    assert shown.record.place == ""
    assert "missing_scope" in shown.record.why
    office.workspace.calls.clear()
    view.look()
    assert office.workspace.calls == []


def test_a_report_that_was_changed_or_is_too_old_stays_where_it_is(office: Office) -> None:
    view = office.lifeboat()
    over(office)
    (office.directory / "evac-1.html").write_bytes(b"something else")
    view.look()
    assert not files(office)
    office.clock.sleep(timedelta(days=1, seconds=1).total_seconds())
    view.look()
    assert office.journal.of(ChatFileShown)[0].record.why == "too late"


def test_one_of_a_question_that_was_never_there_is_left(office: Office) -> None:
    ask_about(office.journal, ALONE)
    answer(office.journal, "evac-1", EventKind.REJECT, by="terminal:tom", policy=ALONE, clock=office.clock, why="no")
    write_report(office)
    office.lifeboat().look()
    assert not files(office)
    assert office.journal.of(ChatFileShown)[0].record.why == "it was never in the chat"
