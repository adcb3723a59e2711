"""The doctor's checks of who may agree to a plan, and of the Slack where they are asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.doctor.examine import CheckContext, Finding, Health, finding
from agent.settings import SlackSettings
from models.errors import BadInput
from models.policy.approvers import ApproverRule
from models.policy.policy import ApprovalMode, ApprovalPolicy
from models.text import listed, visible
from tools.ports.chat import ChatError

if TYPE_CHECKING:
    from tools.slack.client import SlackChat


def check_approvers(context: CheckContext) -> Iterator[Finding]:
    """Whoever policy asks can answer: enough people for each rule, and none that nothing names."""
    approval = context.policy.approval
    modes = (approval.live_migrate, approval.cold_migrate, approval.cold_archive)
    if not approval.approvers:
        if ApprovalMode.ASK in modes:
            what = "policy asks people and names nobody who may answer what `lifeboat run` asks"
            yield finding("approvers", "policy", Health.WARN, what, "name them: approval.people, approval.approvers")
        return
    for number, rule in enumerate(approval.approvers, 1):
        yield _examine(number, rule, approval)
    idle = sorted(approval.people.keys() - {person for rule in approval.approvers for person in _named(rule, approval)})
    if idle:
        what = f"{listed([visible(name, 40) for name in idle])} may answer nothing: no rule names them"
        yield finding("approvers", "people", Health.WARN, what, "name them in approval.approvers, or leave them out")


def check_slack(context: CheckContext) -> Iterator[Finding]:
    """Both tokens hold, the app is in the channel, and Slack knows everybody that policy knows by it."""
    settings = context.settings.slack
    if settings is None:
        return
    from agent.approve.slack.connect import open_slack

    chat = open_slack(settings)
    yield finding("slack", "bot token", Health.OK, chat.who_am_i())
    yield _examine_way_in(settings, chat)
    if chat.is_in_channel():
        yield finding("slack", settings.channel, Health.OK, "the app is in the channel")
    else:
        what = "the app is not in the channel: it can't ask there"
        yield finding("slack", settings.channel, Health.FAIL, what, "invite it: /invite @lifeboat")
    for person, identities in context.policy.approval.people.items():
        for identity in identities:
            view, _, user = identity.partition(":")
            if view == "slack" and not chat.knows(user):
                what = f"{visible(person, 40)}: Slack knows no active user {visible(user, 40)}"
                fix = "a Slack user id (U…), from their profile: not a name; or take it out of approval.people"
                yield finding("slack", visible(person, 40), Health.FAIL, what, fix)


def _examine_way_in(settings: SlackSettings, chat: SlackChat) -> Finding:
    """How what people press gets here."""
    if settings.signing_secret_file is not None:
        from tools.secret_files import read_signing_secret

        try:
            read_signing_secret(settings.signing_secret_file)
        except BadInput as error:
            return finding("slack", "signing secret", Health.FAIL, error.message, error.hint)
        what = "Slack's requests are checked with it; that they arrive can't be seen from here"
        return finding("slack", "signing secret", Health.OK, what)
    try:
        chat.try_socket()
    except ChatError as error:
        return finding("slack", "app token", Health.FAIL, error.message, error.hint)
    return finding("slack", "app token", Health.OK, "Socket Mode is open")


def _named(rule: ApproverRule, approval: ApprovalPolicy) -> frozenset[str]:
    names = (*rule.may, *rule.then)
    return frozenset(person for name in names for person in approval.groups.get(name, (name,)))


def _examine(number: int, rule: ApproverRule, approval: ApprovalPolicy) -> Finding:
    people = _named(rule, approval)
    subject = f"rule {number}"
    two = approval.two_people
    outside = any(not known.startswith("slack:") for person in people for known in approval.people[person])
    if len(people) < 2 and two.stops_guests:
        what = "names one person, and a plan that stops a guest takes two"
        return finding("approvers", subject, Health.WARN, what, "name another, or set approval.two_people")
    if two.outside_slack and not outside:
        what = "knows everybody by Slack alone, and one of two has to agree outside it"
        return finding("approvers", subject, Health.WARN, what, "add a `terminal:` identity to approval.people")
    return finding("approvers", subject, Health.OK, listed([visible(name, 40) for name in sorted(people)]))
