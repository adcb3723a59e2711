"""The channel is told when the breaker trips and who reset it, once, also over a Slack that was away."""

from __future__ import annotations

from datetime import timedelta

import pytest
from scenes.hostile import EVERY
from scenes.slack_office import Office

from tools.ports.records.brake import BreakerReset, BreakerTripped
from tools.ports.records.chat import ChatNoticeShown


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.approve.slack.view._BACK_OFF", (0.0, 0.0))


def trip(office: Office, why: str = "7 of 9 nodes look ill") -> None:
    office.journal.append(BreakerTripped(rule="storm", why=why), now=office.clock.now())


def test_a_trip_and_its_reset_are_told_once_by_whichever_lifeboat_looks(office: Office) -> None:
    views = [office.lifeboat(), office.lifeboat()]
    trip(office)
    for view in views * 2:
        view.look()
    (tripped,) = office.workspace.messages.values()
    assert "nothing moves until a person resets it" in tripped.shown
    assert "storm: 7 of 9 nodes look ill" in tripped.shown
    assert not tripped.buttons

    office.journal.append(BreakerReset(by="terminal:ana", why="an exporter was wrong"), now=office.clock.now())
    for view in views * 2:
        view.look()
    assert len(office.workspace.messages) == 2
    assert office.newest.thread_ts == tripped.ts
    assert "terminal:ana has reset the breaker" in office.newest.shown
    assert "an exporter was wrong" in office.newest.shown
    assert [each.record.place for each in office.journal.of(ChatNoticeShown)] == [tripped.ts, office.newest.ts]


def test_what_is_a_day_old_is_no_news(office: Office) -> None:
    trip(office)
    office.clock.time += timedelta(days=1, minutes=1)
    office.lifeboat().look()
    assert not office.workspace.messages


def test_a_reason_that_outsiders_wrote_stays_text(office: Office) -> None:
    view = office.lifeboat()
    for text in EVERY[:6]:
        trip(office, text)
    view.look()
    assert len(office.workspace.messages) == 6
    for message in office.workspace.messages.values():
        assert "\u202e" not in message.shown
        assert "<!channel>" not in message.text
