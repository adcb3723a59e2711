"""A question as a Slack message: Block Kit JSON, within Slack's limits whatever the plan holds. Pure.

Everything that others wrote (names, reasons, log-made drivers) stands in `rich_text` as text elements, where Slack looks for no
links, mentions or markup; what does not show is written out by `visible`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from agent.approve.facts import headline, what_it_does
from models.base import format_duration
from models.errors import AlreadyDecided, BadInput, Indeterminate, LifeboatError
from models.plan import Action, ActionKind
from models.policy.policy import Policy
from models.proposals.rights import may_answer
from models.proposals.states import OPEN, ApprovalState, Proposal, described
from models.text import seconds_in_words, visible

Block = dict[str, Any]
MOST_HEADER: Final = 150
MOST_CONFIRM: Final = 300
MOST_TABLE: Final = 2_900
"""characters of the table in a message; 3,000 are allowed in one text"""
MOST_LINES: Final = 1_400
"""characters of drivers, and of changes; all in all a message stays well below the 13,200 or so that Slack takes"""
MOST_CALLED: Final = 20
MOST_FORM: Final = 2_900
MOST_FORM_BLOCKS: Final = 90
"""of the 100 that a form may have"""

APPROVE: Final = "lifeboat-approve"
REJECT: Final = "lifeboat-reject"
SNOOZE: Final = "lifeboat-snooze"
DETAILS: Final = "lifeboat-details"
BUTTONS: Final = (APPROVE, REJECT, SNOOZE, DETAILS)
REJECT_FORM: Final = "lifeboat-reject-form"
REASON: Final = "lifeboat-reason"
_SNOOZES: Final = tuple(timedelta(minutes=minutes) for minutes in (5, 10, 30, 60, 240))
_SIGNS: Final = {
    ApprovalState.APPROVED: "✅", ApprovalState.REJECTED: "⛔", ApprovalState.EXPIRED: "⌛", ApprovalState.SUPERSEDED: "↻",
    ApprovalState.WITHDRAWN: "↩", ApprovalState.EXECUTING: "▶", ApprovalState.DONE: "✅", ApprovalState.FAILED: "❌",
    ApprovalState.ROLLED_BACK: "↩", ApprovalState.INDETERMINATE: "🆘", ApprovalState.SNOOZED: "💤", ApprovalState.ESCALATED: "❗",
}  # fmt: skip


def message(
    proposal: Proposal, policy: Policy, *, tokens: Mapping[str, str] | None, head: str, progress: str = ""
) -> tuple[list[Block], str]:
    """Blocks, and the text of notifications. `tokens`: what each button carries; None: no buttons.

    `head`: the audit log's, so that whoever keeps the message can tell a cut-off log.
    """
    question, plan = proposal.question, proposal.question.plan
    blocks: list[Block] = [
        {"type": "header", "text": _plain(_cut(headline(proposal, policy), MOST_HEADER))},
        _line(f"{_SIGNS.get(proposal.state, '❔')} {_state(proposal)}{f' · {progress}' if progress else ''}"),
    ]
    drivers = [
        f"{visible(risk.node, 40)}: {visible(driver.why, 200)}"
        for risk in question.risks
        for driver in risk.drivers[:3]
    ]
    if drivers:
        blocks.append(_line(_fitting(drivers, MOST_LINES)))
    if question.changes:
        lines = [f"since {question.supersedes}:", *(visible(change, 200) for change in question.changes)]
        blocks.append(_line(_fitting(lines, MOST_LINES)))
    blocks.append(_fixed(_fitting(rows(plan.moves), MOST_TABLE)))
    needs = (
        f" · takes {question.needs.people} different people: {question.needs.why}" if question.needs.people > 1 else ""
    )
    blocks.append(
        _line(
            f"expected loss {plan.expected_loss:.3g} with it, {plan.expected_loss_if_nothing_is_done:.3g} if nothing is done · "
            f"planned by {visible(plan.planned_by.planner, 40)}, asked by {visible(question.requested_by, 60)}{needs}"
        )
    )
    if tokens is not None and proposal.state in OPEN:
        escalated = proposal.state is ApprovalState.ESCALATED
        blocks.append(_called("asked:", may_answer(question, policy.approval, escalated=escalated), policy))
        blocks.append(_buttons(proposal, policy, tokens))
    how = f"or at a terminal: lifeboat show {question.id}" if proposal.state in OPEN else question.id
    if proposal.state is ApprovalState.INDETERMINATE:
        how = f"what to do, and what not: lifeboat explain {Indeterminate.code} · {question.id}"
    blocks.append(_line(f"{how} · audit log {head}"))
    return blocks, fallback(f"{headline(proposal, policy)} — {_state(proposal)}")


def escalation(proposal: Proposal, policy: Policy) -> tuple[list[Block], str]:
    """Calls those who may answer only now: an edited message rings nobody's phone."""
    question = proposal.question
    before = may_answer(question, policy.approval, escalated=False)
    new = may_answer(question, policy.approval, escalated=True) - before
    line = f"half of its time is over; until {proposal.expires_at:%H:%M:%S} UTC, {_then(proposal)}. Asked as well:"
    return [_called(line, new or before, policy)], fallback(line)


def details(proposal: Proposal, policy: Policy) -> Block:
    """Every guest, in a form that only shows."""
    plan = proposal.question.plan
    chunks = _chunks(rows(plan.actions, reasons=True), MOST_FORM)
    shown = chunks[:MOST_FORM_BLOCKS]
    blocks = [_line(headline(proposal, policy)), *(_fixed(chunk) for chunk in shown)]
    if len(chunks) > len(shown):
        blocks.append(_line(f"the rest does not fit here: lifeboat show {proposal.id}"))
    return {"type": "modal", "callback_id": "lifeboat-shown", "title": _plain("What would be done"), "blocks": blocks,
            "close": _plain("Close")}  # fmt: skip


def reject_form(proposal: Proposal, policy: Policy, token: str) -> Block:
    """Asks for the reason."""
    field = {"type": "plain_text_input", "action_id": REASON, "multiline": True, "max_length": 500}
    return {
        "type": "modal", "callback_id": REJECT_FORM, "private_metadata": token, "title": _plain("Reject this plan"),
        "submit": _plain("Reject"), "close": _plain("Back"),
        "blocks": [
            _line(_cut(f"{headline(proposal, policy)}. It is not carried out; others read why.", 500)),
            {"type": "input", "block_id": "why", "label": _plain("Why"), "element": field},
        ],
    }  # fmt: skip


def stuck(proposal: Proposal, head: str) -> tuple[list[Block], str]:
    """What became of a question whose own message can't be changed any more. `head`: as of `message`."""
    void = "its message can't be changed any more, and the buttons there do nothing"
    line = f"{_SIGNS.get(proposal.state, '❔')} {_state(proposal)}; {void}"
    return [_line(line), _line(f"{proposal.id} · audit log {head}")], fallback(line)


def told(head: str, lines: Sequence[str]) -> tuple[list[Block], str]:
    """An answer that one person reads: a line, and under it as many as fit."""
    return [_line(head), *([_fixed(_fitting(list(lines), MOST_TABLE, rest=""))] if lines else [])], fallback(head)


def failed(error: LifeboatError) -> str:
    """What went wrong, in one line that names where a terminal says more of it."""
    more = "" if isinstance(error, BadInput | AlreadyDecided) else f" · lifeboat explain {error.code}"
    return f"{error.message}{f' ({error.hint})' if error.hint else ''}{more}"


def rows(actions: tuple[Action, ...], *, reasons: bool = False) -> list[str]:
    """A heading, and a line a guest: those that stop first, then in the order they start. Narrow enough for a phone."""
    ordered = sorted(
        actions, key=lambda one: one.kind is not ActionKind.COLD_ARCHIVE and one.kind is not ActionKind.COLD_MIGRATE
    )
    words = {
        ActionKind.LIVE_MIGRATE: "live", ActionKind.COLD_MIGRATE: "cold", ActionKind.COLD_ARCHIVE: "archive",
        ActionKind.STAY: "stays",
    }  # fmt: skip
    table = [("guest", "how", "pause", "to", "")]
    for one in ordered:
        pause = seconds_in_words(one.estimated_downtime_seconds) if one.kind is not ActionKind.STAY else ""
        why = visible(one.reason, 120) if reasons or one.kind is ActionKind.COLD_ARCHIVE else ""
        table.append(
            (
                visible(one.vm_name or one.vm, 28),
                words[one.kind],
                pause,
                f"→ {visible(one.target, 24)}" if one.target else "",
                why,
            )
        )
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    return [
        " ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in table
    ]


def fallback(text: str) -> str:
    """Text outside blocks: Slack reads `&`, `<` and `>` there."""
    return visible(text, 300).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def without_tokens(blocks: list[Block]) -> list[Block]:
    """As it is kept in the journal."""

    def kept(block: Block) -> Block:
        return {"type": "actions", "elements": [each["action_id"] for each in block["elements"]]}

    return [kept(block) if block["type"] == "actions" else block for block in blocks]


def _state(proposal: Proposal) -> str:
    if proposal.state not in OPEN:
        return f"{described(proposal)}"
    until = f"until {proposal.expires_at:%Y-%m-%d %H:%M:%S} UTC, {_then(proposal)}"
    agreed = f" · {proposal.approved_by} agreed" if proposal.agreements else ""
    if proposal.state is ApprovalState.SNOOZED:
        return f"{described(proposal)}{agreed}"
    return f"{what_it_does(proposal)}? It takes {proposal.missing}, {until}{agreed}"


def _then(proposal: Proposal) -> str:
    return "then it goes ahead" if proposal.goes_ahead_unanswered else "then it is a no"


def _buttons(proposal: Proposal, policy: Policy, tokens: Mapping[str, str]) -> Block:
    off = ", ".join(visible(node, 40) for node in list(proposal.question.occasions)[:3])
    confirm = {
        "title": _plain("Carry it out?"),
        "text": _plain(_cut(f"{what_it_does(proposal)} off {off}. It begins at once.", MOST_CONFIRM)),
        "confirm": _plain("Carry it out"),
        "deny": _plain("Back"),
    }
    longest = policy.approval.longest_snooze
    options = [
        {"text": _plain(format_duration(each)), "value": f"{tokens[SNOOZE]}:{format_duration(each)}"}
        for each in _SNOOZES
        if each <= longest
    ]
    elements: list[Block] = [
        {"type": "button", "action_id": APPROVE, "style": "primary", "text": _plain("Approve"), "value": tokens[APPROVE],
         "confirm": confirm},
        {"type": "button", "action_id": REJECT, "style": "danger", "text": _plain("Reject…"), "value": tokens[REJECT]},
    ]  # fmt: skip
    if options:
        elements.append(
            {"type": "static_select", "action_id": SNOOZE, "placeholder": _plain("Ask again in…"), "options": options}
        )
    elements.append({"type": "button", "action_id": DETAILS, "text": _plain("Details"), "value": tokens[DETAILS]})
    return {"type": "actions", "elements": elements}


def _called(line: str, people: frozenset[str], policy: Policy) -> Block:
    """Names people so that Slack calls them: by the ids that policy has, never by a text from elsewhere."""
    known = [identity for person in sorted(people) for identity in policy.approval.people[person]]
    users = [identity.removeprefix("slack:") for identity in known if identity.startswith("slack:")][:MOST_CALLED]
    elements: list[Block] = [{"type": "text", "text": f"{line} "}]
    for user in users:
        elements += [{"type": "user", "user_id": user}, {"type": "text", "text": " "}]
    if not users:
        elements.append(
            {"type": "text", "text": ", ".join(visible(person, 40) for person in sorted(people)) or "nobody"}
        )
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": elements}]}


def _plain(text: str) -> Block:
    return {"type": "plain_text", "text": text, "emoji": False}


def _line(text: str) -> Block:
    element = {"type": "text", "text": _cut(text, 2_900)}
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [element]}]}


def _fixed(text: str) -> Block:
    element = {"type": "text", "text": text}
    return {"type": "rich_text", "elements": [{"type": "rich_text_preformatted", "elements": [element]}]}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _fitting(lines: list[str], most: int, *, rest: str = ": see Details") -> str:
    """As many lines as fit, and how many did not."""
    shown: list[str] = []
    length = 0
    for number, line in enumerate(lines):
        length += len(line) + 1
        if length > most - 40 and number < len(lines):
            return "\n".join([*shown, f"… and {len(lines) - number} more{rest}"])
        shown.append(line)
    return "\n".join(shown) or "nothing"


def _chunks(lines: list[str], most: int) -> list[str]:
    chunks: list[str] = []
    for line in lines:
        if chunks and len(chunks[-1]) + len(line) + 1 <= most:
            chunks[-1] += f"\n{line}"
        else:
            chunks.append(_cut(line, most))
    return chunks
