"""`lifeboat approvals`, `show`, `approve`, `reject` and `snooze`, as people use them at different terminals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from scenes.approvals import ALONE, NOON, PEOPLE, StoppedClock, ask_about, policy
from scenes.command_line import lifeboat, offered, work_in

from agent.documents import read_policy
from tools.journal.sqlite import SqliteJournal

POLICY = """
approval:
  people: {ana: [terminal:ana, slack:UANA], tom: [terminal:tom, slack:UTOM], eve: [slack:UEVE], boss: [terminal:boss]}
  groups: {ops: [ana, tom, eve], leads: [boss]}
  approvers: [{may: [ops], then: [leads]}]
"""


class Desk:
    """People at terminals of lifeboat's host, one after the other."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory, self._monkeypatch = directory, monkeypatch
        self.now = NOON
        self.journal = SqliteJournal(directory / "journal.sqlite")
        (directory / "policy.yaml").write_text(POLICY)
        work_in(directory, monkeypatch, settings=f"state_dir: {directory}\npolicy_file: policy.yaml\n")
        monkeypatch.setattr("tools.clock.SystemClock.now", lambda _: self.now)
        monkeypatch.setattr("tools.clock.SystemClock.uptime", lambda _: StoppedClock(self.now).uptime())
        self.policy = read_policy(directory / "policy.yaml")

    def ask(self, name: str = "evac-1", **more: Any) -> None:
        ask_about(self.journal, self.policy, name=name, at=self.now, **more)

    def says(self, who: str, *arguments: str) -> tuple[int, str]:
        self._monkeypatch.setattr("agent.approve.identity.terminal_identity", lambda: f"terminal:{who}")
        return lifeboat(*arguments)

    def json(self, *arguments: str) -> Any:
        code, said = self.says("ana", *arguments, "--json")
        assert code == 0, said
        return json.loads(said)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    desk = Desk(tmp_path, monkeypatch)
    assert desk.policy == policy(), "what the file says is what the scene says"
    yield desk
    desk.journal.close()


def test_nothing_waits(desk: Desk) -> None:
    assert desk.says("ana", "approvals") == (0, "no plan waits for an answer\n")
    assert desk.json("approvals") == {"approvals": []}
    assert desk.says("ana", "show")[0] == 2


def test_a_plan_is_shown_with_why_what_and_who(desk: Desk) -> None:
    desk.ask(archive=True)
    code, said = desk.says("ana", "approvals")
    assert code == 0
    assert "evac-1  node-a: 93 % to fail within 2h. Move 1 vm live, stop and archive 1 vm" in said
    code, said = desk.says("ana", "show")
    assert code == 0
    for told in (
        "PSU1 12 V: 11.52 V", "node-b", "cold_archive", "expected loss 1.86 with it, 197 if nothing is done",
        "takes 2 different people: it stops 1 guest", "may answer: ana, eve, tom; from half of its time on also boss",
        "15m left",
    ):  # fmt: skip
        assert told in said, said


def test_the_first_answer_counts_and_who_comes_second_is_told(desk: Desk) -> None:
    desk.ask()
    code, said = desk.says("ana", "approve", "evac-1")
    assert code == 0
    assert "approved by terminal:ana" in said
    desk.now += timedelta(minutes=1)
    code, said = desk.says("tom", "reject", "evac-1", "--reason", "not now")
    assert code == 3
    assert "evac-1 is approved by terminal:ana at 2026-11-23 12:00:00 UTC" in said
    assert desk.json("show", "evac-1")["state"] == "approved"


def test_a_rejection_keeps_its_reason_and_is_final(desk: Desk) -> None:
    desk.ask()
    assert desk.says("tom", "reject", "evac-1", "-r", "the PSU is being\nswapped \x1b[31m")[0] == 0
    told = desk.json("approvals", "--all")["approvals"][0]
    assert told["state"] == "rejected"
    assert "the PSU is being swapped \\x1b[31m" in told["described"]
    assert desk.says("ana", "approve", "evac-1")[0] == 3
    assert desk.says("ana", "reject", "evac-1")[0] == 2, "a reason is asked for"


def test_two_people_where_a_guest_is_stopped(desk: Desk) -> None:
    desk.ask(archive=True)
    code, said = desk.says("ana", "approve", "evac-1")
    assert code == 0
    assert "it takes 1 more; terminal:ana agreed" in said
    assert desk.says("ana", "approve", "evac-1")[0] == 3
    assert desk.says("tom", "approve", "evac-1")[0] == 0
    told = desk.json("show", "evac-1")
    assert told["state"] == "approved"
    assert [one["person"] for one in told["agreements"]] == ["ana", "tom"]


@pytest.mark.parametrize("who", ["mallory", "boss"])
def test_who_may_not_changes_nothing(desk: Desk, who: str) -> None:
    desk.ask()
    for command in (("approve", "evac-1"), ("reject", "evac-1", "-r", "no"), ("snooze", "evac-1", "--for", "5m")):
        code, said = desk.says(who, *command)
        assert code == 3
        assert "nothing was decided" in said
    assert desk.json("show")["state"] == "pending"


def test_who_asked_never_approves(desk: Desk) -> None:
    desk.ask(requested_by="slack:UANA")
    code, said = desk.says("ana", "approve", "evac-1")
    assert code == 3
    assert "who asks never agrees" in said


@pytest.mark.parametrize("agreed", [False, True])
def test_who_asked_takes_it_back_also_once_others_agreed(desk: Desk, agreed: bool) -> None:
    desk.ask(requested_by="slack:UANA")
    if agreed:
        assert desk.says("tom", "approve", "evac-1")[0] == 0
    code, said = desk.says("ana", "reject", "evac-1", "-r", "the wrong node")
    assert code == 0, said
    told = desk.json("show", "evac-1")
    assert (told["state"], told["agreements"] != []) == ("withdrawn", agreed)
    assert "the wrong node" in said
    assert desk.says("tom", "approve", "evac-1")[0] == 3


def test_snoozed_until_then_and_no_longer_than_policy_says(desk: Desk) -> None:
    desk.ask()
    assert desk.says("ana", "snooze", "evac-1", "--for", "2h")[0] == 3
    code, said = desk.says("ana", "snooze", "evac-1", "--for", "30m")
    assert code == 0
    assert "snoozed until 2026-11-23 12:30:00 UTC" in said
    desk.now += timedelta(minutes=31)
    assert desk.json("show")["state"] == "pending"
    for wrong in ("soon", "0s", "-5m"):
        assert desk.says("ana", "snooze", "evac-1", "--for", wrong)[0] == 2


def test_a_late_answer_is_told_that_nobody_decided_in_time(desk: Desk) -> None:
    desk.ask()
    desk.now += timedelta(minutes=15)
    code, said = desk.says("ana", "approve", "evac-1")
    assert code == 3
    assert "expired by time at 2026-11-23 12:15:00 UTC: nobody decided in time" in said


def test_what_was_never_asked_is_bad_input_and_the_id_is_needed_to_answer(desk: Desk) -> None:
    desk.ask()
    assert desk.says("ana", "approve", "evac-9")[0] == 2
    assert desk.says("ana", "approve")[0] == 2, "what one saw may not be what is open now"


def test_what_has_not_begun_is_rejected_rather_than_cancelled(desk: Desk) -> None:
    desk.ask()
    code, said = desk.says("ana", "cancel", "evac-1")
    assert code == 2
    assert "has not begun: people are asked about it" in said
    assert "lifeboat reject" in said


def test_a_policy_that_changed_since_does_not_say_who_may(desk: Desk) -> None:
    desk.ask()
    (desk.directory / "policy.yaml").write_text(POLICY.replace("leads: [boss]", "leads: [boss, ana]"))
    code, said = desk.says("ana", "approve", "evac-1")
    assert code == 3
    assert "another policy" in said


def test_where_nobody_can_approve_it_says_so(desk: Desk) -> None:
    lonely = {"people": PEOPLE, "approvers": [{"may": ["ana"]}]}
    (desk.directory / "policy.yaml").write_text(json.dumps({"approval": lonely}))
    desk.policy = read_policy(desk.directory / "policy.yaml")
    desk.ask(archive=True)
    assert "nobody can approve it: policy lets 1 person answer it" in desk.says("ana", "show")[1]


def test_names_from_outside_show_and_are_not_obeyed(desk: Desk) -> None:
    desk.policy = ALONE
    desk.ask(vms=("web\x1b[2J\u202e",))
    assert "\x1b" not in desk.says("ana", "show")[1]


def test_the_tab_key_offers_what_waits(desk: Desk) -> None:
    desk.ask("evac-1")
    desk.ask("drain-2")
    assert offered("lifeboat approve ") == ["evac-1", "drain-2"]
    assert offered("lifeboat show d") == ["drain-2"]
    assert offered("lifeboat pause ") == []
