"""Slack shows what the journal holds, and a press there counts like an answer anywhere else: over real sockets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from scenes.approvals import ALONE, NOON, PEOPLE, ask_about, at, policy
from scenes.slack_office import Office
from structlog.testing import capture_logs

from agent.approve.proposals import answer, note, read
from agent.approve.slack import render
from models.approval import ApprovalRecord
from models.errors import LifeboatError
from models.evacuation import EvacuationOutcome
from models.policy.approvers import TwoPeoplePolicy
from models.proposals.states import ApprovalState, EventKind
from tools.ports.chat import Command
from tools.ports.records.approvals import ApprovalChanged, ApprovalClosed
from tools.ports.records.chat import ChatIntended, ChatRefused, ChatSettled, ChatShown
from tools.ports.records.evacuations import EvacuationEnded, EvacuationStarted
from tools.slack.client import SlackChat


def test_a_question_is_posted_approved_by_a_press_and_loses_its_buttons(office: Office) -> None:
    office.lifeboat()
    office.ask()
    assert set(office.newest.buttons) == set(render.BUTTONS)
    office.press("UANA", render.APPROVE)
    office.until(lambda: not office.newest.buttons, "the buttons stay")
    assert office.state() is ApprovalState.APPROVED
    assert "approved by slack:UANA at 2026-11-23 12:00:00 UTC" in office.newest.shown
    assert len(office.workspace.messages) == 1
    (shown,) = [e.record for e in office.journal.of(ChatShown) if e.record.state is ApprovalState.PENDING]
    assert "node-a: 93 %" in str(shown.message), "the message as it was shown is in the audit log"


def test_a_decision_elsewhere_takes_the_buttons_away_too(office: Office) -> None:
    view = office.lifeboat()
    office.ask()
    answer(
        office.journal, "evac-1", EventKind.REJECT, by="terminal:tom", policy=ALONE, clock=at(NOON),
        why="<!channel> the PSU is swapped",
    )  # fmt: skip
    view.look()
    assert not office.newest.buttons
    assert "rejected by terminal:tom" in office.newest.shown
    assert office.journal.of(ChatSettled)[0].record.state is ApprovalState.REJECTED
    office.workspace.calls.clear()
    view.look()
    assert office.workspace.calls == [], "what is over is not looked at any more"


def test_a_rejection_asks_for_its_reason(office: Office) -> None:
    office.lifeboat()
    office.ask()
    office.press("UTOM", render.REJECT)
    office.until(lambda: bool(office.workspace.forms), "no form opened")
    office.slack.submit(next(iter(office.workspace.forms)), {render.REASON: "the PSU is being swapped"})
    office.until(lambda: office.state() is ApprovalState.REJECTED, "not rejected")
    office.until(lambda: "the PSU is being swapped" in office.newest.shown, "the reason is not shown")


def test_a_snooze_and_the_details(office: Office) -> None:
    view = office.lifeboat()
    office.ask()
    office.press("UANA", render.DETAILS)
    office.until(lambda: bool(office.workspace.forms), "no form opened")
    assert "most room" in str(office.workspace.forms)
    office.press("UANA", render.SNOOZE, option="10m")
    office.until(lambda: "snoozed until 2026-11-23 12:10:00 UTC" in office.newest.shown, "not snoozed")
    office.clock.sleep(601)
    view.look()
    assert office.state() is ApprovalState.PENDING
    assert set(office.newest.buttons) == set(render.BUTTONS)
    assert "until 2026-11-23 12:25:00 UTC" in office.newest.shown


def test_half_way_the_next_are_called_in_the_thread_once(office: Office) -> None:
    leads = policy(people={**PEOPLE, "boss": ("slack:UBOSS",)}, two_people=TwoPeoplePolicy(stops_guests=False))
    view = office.lifeboat(leads)
    office.ask(under=leads)
    place = office.newest.ts
    assert "UANA" in str(office.newest.blocks)
    assert "UBOSS" not in str(office.newest.blocks)
    office.clock.sleep(451)
    for _ in range(3):
        view.look()
    (called,) = [each for each in office.workspace.messages.values() if each.thread_ts == place]
    assert "UBOSS" in str(called.blocks)
    assert "UANA" not in str(called.blocks)
    office.slack.press("UBOSS", place, render.APPROVE)
    office.until(lambda: office.state() is ApprovalState.APPROVED, "not approved")


def test_two_people_press_and_one_is_not_two(office: Office) -> None:
    office.lifeboat(policy())
    office.ask(under=policy(), archive=True)
    office.press("UANA", render.APPROVE)
    office.until(lambda: "slack:UANA agreed" in office.newest.shown, "not shown")
    office.press("UANA", render.APPROVE)
    office.until(lambda: bool(office.workspace.whispers), "not told")
    assert "ana has agreed to evac-1 already" in office.workspace.whispers[-1][1]
    assert office.state() is ApprovalState.PENDING
    office.press("UTOM", render.APPROVE)
    office.until(lambda: office.state() is ApprovalState.APPROVED, "not approved")


def test_who_may_not_is_told_alone_and_it_is_in_the_journal(office: Office) -> None:
    office.lifeboat()
    office.ask()
    office.press("UMALLORY", render.APPROVE)
    office.until(lambda: bool(office.journal.of(ChatRefused)), "not recorded")
    (refused,) = office.journal.of(ChatRefused)
    assert refused.record.user == "UMALLORY"
    assert "none of policy's people" in refused.record.why
    assert office.state() is ApprovalState.PENDING
    assert office.newest.buttons


def test_a_guessed_edited_or_used_token_decides_nothing(office: Office) -> None:
    office.lifeboat(policy())
    office.ask(under=policy(), archive=True)
    before = office.newest.buttons[render.APPROVE]["value"]
    office.press("UANA", render.APPROVE, value="0" * 32)
    office.until(lambda: len(office.journal.of(ChatRefused)) == 1, "a guess")
    office.press("UANA", render.APPROVE, value=office.newest.buttons[render.DETAILS]["value"])
    office.until(lambda: len(office.journal.of(ChatRefused)) == 2, "another button's token")
    office.press("UANA", render.APPROVE)
    office.until(lambda: "UANA agreed" in office.newest.shown, "not shown")
    office.press("UTOM", render.APPROVE, value=before)
    office.until(
        lambda: bool(office.workspace.whispers) and "since you were shown it" in office.workspace.whispers[-1][1],
        "used",
    )
    assert office.state() is ApprovalState.PENDING
    kept = str([e.record for e in office.journal.entries()])
    assert before not in kept, "a token in the journal"


def test_the_same_press_twice_is_one_answer(office: Office) -> None:
    office.lifeboat(policy())
    office.ask(under=policy(), archive=True)
    value = office.newest.buttons[render.APPROVE]["value"]
    action = {"type": "button", "action_id": render.APPROVE, "value": value}
    office.slack.send(
        {"type": "block_actions", "user": {"id": "UANA"}, "team": {"id": "T0LAB"}, "actions": [action]}, twice=True
    )
    office.until(lambda: "UANA agreed" in office.newest.shown, "not shown")
    office.until(lambda: bool(office.workspace.whispers), "the second is not told")
    assert len(read(office.journal, "evac-1", office.clock).agreements) == 1


def test_any_lifeboat_settles_any_press_and_a_hundred_at_once_are_one_decision(office: Office) -> None:
    office.lifeboat()
    office.lifeboat()
    office.ask()
    assert len(office.workspace.messages) == 1, "two lifeboats, one message"
    ts, value = office.newest.ts, office.newest.buttons[render.APPROVE]["value"]
    users = ("UANA", "UTOM", "UEVE")

    def press(number: int) -> None:
        action = {"type": "button", "action_id": render.APPROVE, "value": value}
        office.slack.send(
            {"type": "block_actions", "user": {"id": users[number % 3]}, "team": {"id": "T0LAB"}, "actions": [action],
             "container": {"message_ts": ts}}
        )  # fmt: skip

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(press, range(100)))
    office.until(lambda: len(office.workspace.whispers) >= 99, "99 are told that they came second")
    closed = [e for e in office.journal.of(ApprovalChanged, ApprovalClosed) if e.record.event.kind is EventKind.AGREE]
    assert len(closed) == 1
    assert len(office.slack.acknowledged) == 100
    assert max(office.slack.acknowledged) < 3.0, "Slack's own limit, also on a busy machine"
    assert not office.newest.buttons


def test_a_slack_that_is_away_costs_nobody_an_answer(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.approve.slack.view._BACK_OFF", (0.0, 0.0))
    view = office.lifeboat()
    office.slack.down = True
    office.ask()
    answer(office.journal, "evac-1", EventKind.AGREE, by="terminal:tom", policy=ALONE, clock=at(NOON))
    assert office.state() is ApprovalState.APPROVED
    office.slack.down = False
    view.look()
    assert "approved by terminal:tom" in office.newest.shown
    assert not office.newest.buttons


def test_when_slack_says_later_it_is_later(office: Office) -> None:
    view = office.lifeboat()
    office.workspace.fail("chat.postMessage", "ratelimited", retry_after=60)
    office.ask()
    office.workspace.calls.clear()
    view.look()
    assert office.workspace.calls == []
    assert not office.workspace.messages


def test_a_message_that_cant_be_edited_any_more_is_answered_beside_it(office: Office) -> None:
    view = office.lifeboat()
    office.ask()
    place = office.newest.ts
    office.workspace.fail("chat.update", "edit_window_closed")
    answer(office.journal, "evac-1", EventKind.REJECT, by="terminal:tom", policy=ALONE, clock=at(NOON), why="no")
    view.look()
    assert office.newest.thread_ts == place
    assert "rejected by terminal:tom" in office.newest.shown
    with pytest.raises(KeyError):
        office.press("UANA", render.APPROVE)
    office.slack.press("UANA", place, render.APPROVE)  # it still has its buttons, and they are void
    office.until(lambda: bool(office.workspace.whispers), "not told")
    assert "rejected by terminal:tom" in office.workspace.whispers[-1][1]


def test_a_message_that_somebody_deleted_is_posted_again_while_it_matters(office: Office) -> None:
    view = office.lifeboat(policy())
    office.ask(under=policy(), archive=True)
    office.workspace.messages.clear()
    answer(office.journal, "evac-1", EventKind.AGREE, by="terminal:ana", policy=policy(), clock=at(NOON))
    view.look()
    assert "terminal:ana agreed" in office.newest.shown
    office.press("UTOM", render.APPROVE)
    office.until(lambda: office.state() is ApprovalState.APPROVED, "not approved")


@pytest.mark.parametrize("why", ["edit_window_closed", "cant_update_message", "message_not_found"])
def test_while_it_can_be_answered_a_message_that_is_stuck_gets_a_successor_with_buttons(
    office: Office, why: str
) -> None:
    view = office.lifeboat(policy())
    office.ask(under=policy(), archive=True)
    old = office.newest.ts
    office.workspace.fail("chat.update", why)
    answer(office.journal, "evac-1", EventKind.AGREE, by="terminal:ana", policy=policy(), clock=at(NOON))
    view.look()
    newer = [each for each in office.workspace.messages.values() if each.thread_ts is None][-1]
    assert newer.ts != old
    assert "terminal:ana agreed" in newer.shown
    beside = [each.shown for each in office.workspace.messages.values() if each.thread_ts == old]
    assert len(beside) == (0 if why == "message_not_found" else 1)
    assert all("a newer one asks the same" in each for each in beside)
    office.slack.press("UTOM", old, render.APPROVE)
    office.until(lambda: bool(office.workspace.whispers), "not told")
    assert "since you were shown it" in office.workspace.whispers[-1][1]
    office.slack.press("UTOM", newer.ts, render.APPROVE)
    office.until(lambda: office.state() is ApprovalState.APPROVED, "not approved")


def test_progress_that_cant_be_shown_holds_nothing_up(office: Office) -> None:
    view = office.lifeboat()
    office.ask()
    answer(office.journal, "evac-1", EventKind.AGREE, by="terminal:tom", policy=ALONE, clock=at(NOON))
    note(office.journal, "evac-1", EventKind.EXECUTE, why="", clock=at(NOON))
    view.look()
    office.workspace.fail("chat.update", "edit_window_closed", times=3)
    view.look()
    office.ask("evac-2")
    assert "evac-2" in office.newest.shown
    assert office.newest.buttons


def test_what_slack_has_against_one_message_keeps_no_other_from_being_shown(office: Office) -> None:
    office.lifeboat()
    office.workspace.fail("chat.postMessage", "invalid_blocks")
    ask_about(office.journal, ALONE)
    office.ask("evac-2")
    (shown,) = office.workspace.messages.values()
    assert "evac-2" in shown.shown


def test_an_hour_without_slack_loses_nothing_and_shows_how_it_ended(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.approve.slack.view._BACK_OFF", (0.0, 0.0))
    view = office.lifeboat()
    office.ask()
    office.slack.down = True
    ask_about(office.journal, ALONE, name="evac-2", at=NOON + timedelta(minutes=50))
    for _ in range(60):
        office.clock.sleep(60)
        view.look()
    office.slack.down = False
    view.look()
    first, second = office.workspace.messages.values()
    assert "expired by time at 2026-11-23 12:15:00 UTC" in first.shown
    assert not first.buttons
    assert second.buttons
    office.slack.press("UANA", second.ts, render.APPROVE)
    office.until(lambda: office.state("evac-2") is ApprovalState.APPROVED, "not approved")


def test_a_journal_that_is_away_at_the_moment_of_a_press_decides_nothing_and_the_person_is_told(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.lifeboat()
    office.ask()

    def away(*_: object, **__: object) -> None:
        raise OSError("journal can't be written: database or disk is full")

    with monkeypatch.context() as full:
        full.setattr("tools.journal.sqlite.SqliteJournal.append_if_newest", away)
        office.press("UANA", render.APPROVE)
        office.until(lambda: bool(office.workspace.whispers), "not told")
    assert "nothing was decided" in office.workspace.whispers[-1][1]
    assert office.state() is ApprovalState.PENDING
    office.press("UANA", render.APPROVE)
    office.until(lambda: office.state() is ApprovalState.APPROVED, "the same button again")


def test_that_nothing_pressed_arrives_is_said_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.approve.slack.view._DEAF_SECONDS", -1.0)
    view = office.lifeboat()
    monkeypatch.setattr(office.connections[0], "hears", lambda: False, raising=False)
    with capture_logs() as said:
        view.look()
        view.look()
        monkeypatch.setattr(office.connections[0], "hears", lambda: True)
        view.look()
    assert [line["message"][:14] for line in said] == ["its socket is ", "what people pr"]


def test_killed_after_it_was_posted_and_before_that_was_written_down_the_message_is_found_again(office: Office) -> None:
    office.lifeboat()
    office.ask()
    shown = office.newest
    again = Office(office.directory / "restored", office.slack, office.connections)  # a journal that ends there
    ask_about(again.journal, ALONE)
    intended = ChatIntended(token_sha256={}, state=ApprovalState.PENDING, uptime=again.clock.uptime())
    again.journal.append(intended, now=NOON, evacuation="evac-1")
    again.clock.sleep(31)
    again.lifeboat()
    assert list(office.workspace.messages.values()) == [shown]
    office.slack.press("UANA", shown.ts, render.APPROVE)
    office.until(lambda: again.state() is ApprovalState.APPROVED, "not approved")
    office.until(lambda: not shown.buttons, "the buttons stay")
    again.close()


def test_killed_between_meaning_to_post_and_posting_it_is_posted_later(office: Office) -> None:
    view = office.lifeboat()
    ask_about(office.journal, ALONE)
    office.journal.append(
        ChatIntended(token_sha256={}, state=ApprovalState.PENDING), now=office.clock.time, evacuation="evac-1"
    )
    view.look()
    assert not office.workspace.messages, "whoever meant to may be about to"
    office.clock.sleep(31)
    view.look()
    assert set(office.newest.buttons) == set(render.BUTTONS)


def test_one_that_seemed_dead_before_it_began_and_was_only_slow_is_shown_as_it_went(office: Office) -> None:
    view = office.lifeboat()
    office.ask()
    answer(office.journal, "evac-1", EventKind.AGREE, by="terminal:tom", policy=ALONE, clock=at(NOON))
    note(office.journal, "evac-1", EventKind.EXECUTE, why="", clock=at(NOON))
    office.clock.sleep(301)
    view.look()
    assert "ended before anything began" in office.newest.shown
    question = read(office.journal, "evac-1", at(NOON)).question
    agreement = ApprovalRecord(
        plan_sha256="0" * 64, by="terminal:tom", at=NOON, expires_at=NOON + timedelta(minutes=15)
    )
    started = EvacuationStarted(
        plan=question.plan, fleet=question.touched, verdict=question.verdict, policy=ALONE, agreement=agreement
    )
    office.journal.append(started, now=office.clock.time, evacuation="evac-1")
    view.look()
    assert "executing" in office.newest.shown
    office.journal.append(EvacuationEnded(outcome=EvacuationOutcome.DONE), now=office.clock.time, evacuation="evac-1")
    view.look()
    assert "done by lifeboat" in office.newest.shown
    assert len(office.journal.of(ChatSettled)) == 1


def test_a_clock_that_is_set_back_keeps_no_question_from_being_shown(office: Office) -> None:
    view = office.lifeboat()
    ask_about(office.journal, ALONE)
    intended = ChatIntended(token_sha256={}, state=ApprovalState.PENDING, uptime=office.clock.uptime())
    office.journal.append(intended, now=NOON, evacuation="evac-1")
    office.clock.set_wall_clock(-timedelta(hours=1))
    office.clock.sleep(31)
    view.look()
    assert set(office.newest.buttons) == set(render.BUTTONS)


def test_a_command_comes_over_the_socket_and_only_who_typed_it_reads_the_answer(office: Office) -> None:
    connection = office.connections[0]

    def say_it_back(command: Command) -> None:
        connection.reply(command, *render.told(f"{command.user} said {command.text}", ["<!channel> *x*"]))

    office.lifeboat(on_command=say_it_back)
    answers = office.slack.command("UANA", "risk node-a")
    office.until(lambda: bool(answers.texts), "no answer")
    assert office.workspace.whispers == [("UANA", "UANA said risk node-a\n<!channel> *x*")]
    assert not office.workspace.messages
    elsewhere = Command(name="/lifeboat", text="status", user="UANA", reply_to="https://elsewhere.example/hook")
    with pytest.raises(LifeboatError, match="elsewhere than at Slack"):
        connection.reply(elsewhere, [], "x")


def test_after_a_restart_the_same_message_is_kept_up(office: Office) -> None:
    office.lifeboat()
    office.ask()
    office.views.clear()
    note(office.journal, "evac-1", EventKind.WITHDRAW, why="node node-a has recovered", clock=at(NOON))
    office.lifeboat()
    assert len(office.workspace.messages) == 1
    assert "node node-a has recovered" in office.newest.shown
    assert not office.newest.buttons


@pytest.mark.parametrize(
    ("method", "error", "said"),
    [
        ("chat.postMessage", "not_in_channel", "invite the app"),
        ("chat.postMessage", "token_revoked", "install the app again"),
        ("chat.postMessage", "channel_not_found", "channel's id"),
    ],
)
def test_what_slack_refuses_is_said_with_what_to_do(office: Office, method: str, error: str, said: str) -> None:
    office.workspace.fail(method, error)
    chat = SlackChat(
        channel=office.workspace.channel,
        bot_token=office.workspace.bot_token,
        app_token="xapp-1",
        api_url=office.slack.api_url,
    )
    with pytest.raises(LifeboatError, match=said):
        chat.post([], "x")
