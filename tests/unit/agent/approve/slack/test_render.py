"""A question as a message: what it says, and that Slack takes it whatever the plan holds."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from scenes.approvals import ALONE, NOON, fleet, plan, policy, question
from scenes.hostile import EVERY

from agent.approve.slack import render
from lab.slack.limits import why_refused
from models.policy.policy import Policy
from models.proposals.states import ApprovalEvent, ApprovalState, EventKind, Proposal, advance
from models.risk.risk import Driver

TOKENS = {button: f"{number:032x}" for number, button in enumerate(render.BUTTONS)}
HEAD = "f" * 64


def asked(*, names: tuple[str, ...] = ("web", "batch"), archive: bool = True, under: Policy | None = None) -> Proposal:
    there = fleet(names=names)
    return Proposal.asked(question(plan(there, archive=archive), there, under or policy()))


def shown(proposal: Proposal, under: Policy | None = None) -> str:
    blocks, _ = render.message(proposal, under or policy(), tokens=TOKENS, head=HEAD)
    assert why_refused({"blocks": blocks, "text": "x"}) is None
    return "\n".join(texts(blocks))


def texts(thing: Any) -> list[str]:
    if isinstance(thing, list):
        return [text for each in thing for text in texts(each)]
    if not isinstance(thing, dict):
        return []
    own = [thing["text"]] if isinstance(thing.get("text"), str) else []
    return own + [text for value in thing.values() for text in texts(value)]


def elements(proposal: Proposal, under: Policy | None = None) -> dict[str, Any]:
    blocks, _ = render.message(proposal, under or policy(), tokens=TOKENS, head=HEAD)
    return {e["action_id"]: e for b in blocks if b["type"] == "actions" for e in b["elements"]}


def test_it_says_what_why_until_when_and_what_if_nobody_answers() -> None:
    said = shown(asked())
    for told in (
        "node-a: 93 % to fail within 2h", "PSU1 12 V: 11.52 V, falling 0.04 V/h, limit 11.40 V", "web", "→ node-b",
        "guest how     pause  to", "web   live    150 ms → node-b", "expected loss 1.86 with it, 197 if nothing is done",
        "until 2026-11-23 12:15:00 UTC, then it is a no",
        "takes 2 different people: it stops 1 guest", "lifeboat show evac-1", HEAD,
    ):  # fmt: skip
        assert told in said, said


def test_what_stops_a_guest_comes_first() -> None:
    said = shown(asked())
    assert said.index("batch ") < said.index("web ")


def test_it_has_buttons_while_it_waits_and_none_afterwards() -> None:
    proposal = asked(under=ALONE, archive=False)
    assert set(elements(proposal, ALONE)) == set(render.BUTTONS)
    assert elements(proposal, ALONE)[render.APPROVE]["confirm"]["text"]["text"].startswith(
        "Move 2 vms live off node-a."
    )
    for kind, state in (
        (EventKind.REJECT, ApprovalState.REJECTED), (EventKind.EXPIRE, ApprovalState.EXPIRED),
        (EventKind.SUPERSEDE, ApprovalState.SUPERSEDED), (EventKind.WITHDRAW, ApprovalState.WITHDRAWN),
        (EventKind.AGREE, ApprovalState.APPROVED),
    ):  # fmt: skip
        event = ApprovalEvent(kind=kind, at=NOON + timedelta(minutes=1), by="slack:UANA", person="ana", why="because")
        over = advance(proposal, event)
        assert over.state is state
        assert elements(over, ALONE) == {}
        assert state in shown(over, ALONE)


def test_what_nobody_can_tell_says_where_it_is_said_what_to_do() -> None:
    assert "lifeboat explain indeterminate" not in shown(asked())
    unclear = asked().model_copy(update={"state": ApprovalState.INDETERMINATE})
    assert "lifeboat explain indeterminate" in shown(unclear)


def test_a_snooze_is_offered_as_far_as_policy_lets() -> None:
    options = elements(asked())[render.SNOOZE]["options"]
    assert [each["value"].partition(":")[2] for each in options] == ["5m", "10m", "30m", "1h"]
    assert render.SNOOZE not in elements(asked(), policy(longest_snooze="1m"))


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_plan_of_many_guests_fits_and_says_how_many_are_left_out(count: int) -> None:
    names = tuple(f"guest-{number:04d}-{'x' * 40}" for number in range(count))
    proposal = asked(names=names)
    assert "more: see Details" in shown(proposal)
    form = render.details(proposal, policy())
    assert why_refused(form, surface="view") is None
    said = "\n".join(texts(form["blocks"]))
    assert f"guest-{count - 1:04d}" in said or "lifeboat show evac-1" in said
    assert ("guest-0199" in said) or count > 200


@pytest.mark.parametrize("name", [*EVERY, "<!channel> <@U1> <http://evil|click> *b* `c` @here :boom:", "x" * 5000])
def test_names_from_outside_are_texts_and_nothing_else(name: str) -> None:
    proposal = asked(names=(name, "batch"))
    risk = proposal.question.risks[0].model_copy(update={"drivers": (Driver(signal="s", why=name),) * 9})
    evil = proposal.question.model_copy(update={"risks": (risk,), "changes": (name,) * 40, "supersedes": "evac-0"})
    proposal = proposal.model_copy(update={"question": evil})
    blocks, text = render.message(proposal, policy(), tokens=TOKENS, head=HEAD)
    assert why_refused({"blocks": blocks, "text": text}) is None
    assert "mrkdwn" not in json.dumps(blocks), "nothing is read as markup"
    assert not set("<>") & set(text)
    for said in (*texts(blocks), *texts(render.details(proposal, policy())), text):
        assert not any(ord(c) < 32 and c != "\n" for c in said)
        assert not any(c in said for c in "\u202e\u2066\u200b\x1b\x9b")


def test_what_the_journal_keeps_holds_no_token() -> None:
    blocks, _ = render.message(asked(), policy(), tokens=TOKENS, head=HEAD)
    assert TOKENS[render.APPROVE] in json.dumps(blocks)
    kept = json.dumps(render.without_tokens(blocks))
    assert not any(token in kept for token in TOKENS.values())
