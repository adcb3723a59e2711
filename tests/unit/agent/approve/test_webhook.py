"""Answers from other systems: signed, fresh, once, and by somebody policy lets."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from scenes.approvals import NOON, StoppedClock, ask_about, policy

from agent.approve.webhook import Request, Webhook, sign
from agent.service.people.webhook_server import read_secrets, serving
from agent.settings import WebhookSettings
from models.errors import BadInput
from models.policy.policy import Policy
from models.proposals.states import ApprovalState
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.approvals import ApprovalChanged, ApprovalClosed
from tools.ports.records.webhook import WebhookRefused

SECRET = b"k" * 32
PEOPLE = {"duty": ("webhook:pager",), "ana": ("terminal:ana",)}


def under(**more: Any) -> Policy:
    return policy(
        people=PEOPLE, groups={}, approvers=[{"may": ["duty", "ana"]}], two_people={"stops_guests": False}, **more
    )


class Caller:
    """Another system, at a time that the tests set."""

    def __init__(self, journal: SqliteJournal, rules: Policy) -> None:
        self.journal, self.clock = journal, StoppedClock(NOON)
        self.webhook = Webhook(
            journal=journal, policy=rules, clock=self.clock, secrets={"pager": SECRET, "other": SECRET[::-1] + b"x"}
        )

    def request(
        self, method: str, path: str, content: object = None, *, key: str = "pager", at: datetime | None = None
    ) -> Request:
        body = json.dumps(content).encode() if content is not None else b""
        stamp = str(int((at or self.clock.now()).timestamp()))
        signature = sign(self.webhook.secrets[key], stamp, method, path, body)
        return Request(method=method, path=path, body=body, key=key, timestamp=stamp, signature=signature)

    def ask(self, method: str, path: str, content: object = None, **more: Any) -> tuple[int, dict[str, Any]]:
        return self.webhook.handle(self.request(method, path, content, **more))

    @property
    def shown(self) -> str:
        return self.ask("GET", "/approvals")[1]["approvals"][0]["question_sha256"]

    def decided(self) -> list[str]:
        return [e.record.event.kind for e in self.journal.of(ApprovalChanged, ApprovalClosed)]


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    rules = under()
    ask_about(journal, rules)
    yield Caller(journal, rules)
    journal.close()


def test_another_system_reads_the_question_and_answers_it(caller: Caller) -> None:
    status, told = caller.ask("GET", "/approvals/evac-1")
    assert status == 200
    assert told["plan"]["evacuating"] == ["node-a"]
    status, told = caller.ask("POST", "/approvals/evac-1/approve", {"question_sha256": told["question_sha256"]})
    assert (status, told["state"], told["agreements"][0]["by"]) == (200, ApprovalState.APPROVED, "webhook:pager")
    assert caller.ask("GET", "/approvals")[1]["approvals"][0]["state"] == "approved"


def test_reject_and_snooze(caller: Caller) -> None:
    shown = caller.shown
    status, told = caller.ask("POST", "/approvals/evac-1/snooze", {"question_sha256": shown, "for": "10m"})
    assert (status, told["snoozed_until"]) == (200, "2026-11-23T12:10:00Z")
    assert caller.ask("POST", "/approvals/evac-1/reject", {"question_sha256": shown})[0] == 400
    status, told = caller.ask("POST", "/approvals/evac-1/reject", {"question_sha256": shown, "reason": "at work on it"})
    assert (status, told["state"]) == (200, "rejected")
    status, told = caller.ask("POST", "/approvals/evac-1/approve", {"question_sha256": shown})
    assert status == 409
    assert "rejected by webhook:pager" in told["why"]


def refused(caller: Caller, request: Request, why: str) -> None:
    status, told = caller.webhook.handle(request)
    assert status == 401
    assert why in told["why"]
    assert caller.decided() == []
    assert caller.journal.of(WebhookRefused)[-1].record.why == told["why"]


def test_forged_edited_stale_and_unknown_are_refused_and_in_the_journal(caller: Caller) -> None:
    path, content = "/approvals/evac-1/approve", {"question_sha256": caller.shown}
    good = caller.request("POST", path, content)
    refused(caller, Request(**{**vars(good), "signature": "v0=" + "0" * 64}), "does not hold")
    refused(caller, Request(**{**vars(good), "body": good.body + b" "}), "does not hold")
    refused(caller, Request(**{**vars(good), "path": "/approvals/evac-2/approve"}), "does not hold")
    refused(caller, Request(**{**vars(good), "key": "other"}), "does not hold")
    refused(caller, Request(**{**vars(good), "timestamp": "1"}), "does not hold")
    refused(caller, Request(**{**vars(good), "timestamp": "soon"}), "unix seconds")
    refused(caller, Request(**{**vars(good), "key": "nobody"}), "no such key")
    for minutes in (-6, 6):
        at = caller.clock.time + timedelta(minutes=minutes)
        refused(caller, caller.request("POST", path, content, at=at), "good for 300 s")


def test_the_same_signed_answer_counts_once(caller: Caller) -> None:
    content = {"question_sha256": caller.shown, "for": "10m"}
    request = caller.request("POST", "/approvals/evac-1/snooze", content)
    assert caller.webhook.handle(request)[0] == 200
    caller.clock.sleep(60)
    status, told = caller.webhook.handle(request)
    assert status == 409
    assert "came before" in told["why"]
    assert caller.decided() == ["snooze"]


def test_what_was_shown_has_to_be_what_is_asked(caller: Caller) -> None:
    for wrong in ({}, {"question_sha256": "0" * 64}, []):
        status, _ = caller.ask("POST", "/approvals/evac-1/approve", wrong)
        assert status in (400, 409)
    assert caller.decided() == []


def test_a_key_that_policy_knows_nobody_by_answers_nothing(caller: Caller) -> None:
    status, told = caller.ask("POST", "/approvals/evac-1/approve", {"question_sha256": caller.shown}, key="other")
    assert status == 403
    assert "none of policy's people" in told["why"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("PUT", "/approvals"), ("POST", "/approvals/evac-1/run"), ("GET", "/approvals/evac-9")],
)
def test_what_is_not_there_is_bad_input(caller: Caller, method: str, path: str) -> None:
    assert caller.ask(method, path)[0] == 400


def test_over_http_on_loopback(caller: Caller, tmp_path: Path) -> None:
    with serving(caller.webhook, 0) as port:
        request = caller.request("GET", "/approvals")
        headers = {
            "X-Lifeboat-Key": request.key, "X-Lifeboat-Timestamp": request.timestamp, "X-Lifeboat-Signature": request.signature,
        }  # fmt: skip
        url = f"http://127.0.0.1:{port}/approvals"
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            assert json.load(answer)["approvals"][0]["evacuation"] == "evac-1"
        for body, status in ((b"", 401), (b"x" * 20_000, 413)):
            with pytest.raises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(urllib.request.Request(f"{url}/evac-1/approve", data=body, method="POST"))
            assert raised.value.code == status
            raised.value.close()
        with pytest.raises(BadInput, match="can't be listened on"), serving(caller.webhook, port):
            pass


def test_a_secret_has_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("abc\n")
    for path, said in ((tmp_path / "short", "32 bytes or more, found 3"), (tmp_path / "none", "can't be read")):
        with pytest.raises(BadInput, match=said):
            read_secrets(WebhookSettings(port=1, keys={"pager": path}))


def test_a_journal_that_is_away_decides_nothing_and_the_same_answer_counts_afterwards(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"question_sha256": caller.shown}

    def away(*_: object, **__: object) -> None:
        raise OSError("journal can't be written: database or disk is full")

    with monkeypatch.context() as full:
        full.setattr("tools.journal.sqlite.SqliteJournal.append", away)
        status, told = caller.ask("POST", "/approvals/evac-1/approve", content)
    assert (status, told["error"]) == (503, "journal")
    assert "nothing was decided" in told["why"]
    assert caller.decided() == []
    assert caller.ask("POST", "/approvals/evac-1/approve", content)[0] == 200
