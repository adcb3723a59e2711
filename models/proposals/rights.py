"""Who may answer a question, and what it takes. Pure: policy and the question decide, never where it was shown."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

from models.plan import ActionKind, Plan
from models.policy.approvers import ApproverRule
from models.policy.policy import ApprovalPolicy, Policy
from models.proposals.states import ApprovalState, Needs, Proposal, Question
from models.text import counted, visible


def person_of(identity: str, policy: ApprovalPolicy) -> str | None:
    """Who of the policy's people that is; None: nobody it knows."""
    return next((person for person, known in policy.people.items() if identity in known), None)


def needed(plan: Plan, policy: ApprovalPolicy) -> Needs:
    """What it takes to approve this plan."""
    two = policy.two_people
    stopped = [action for action in plan.moves if action.kind in (ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE)]
    why: list[str] = []
    if two.stops_guests and stopped:
        why.append(f"it stops {counted(len(stopped), 'guest')}")
    if len(plan.moves) > two.over_vms:
        why.append(f"it moves {len(plan.moves)} vms, more than {two.over_vms}")
    if not why:
        return Needs()
    return Needs(people=2, outside_slack=two.outside_slack, why=" and ".join(why))


def may_answer(question: Question, policy: ApprovalPolicy, *, escalated: bool) -> frozenset[str]:
    """The people who may: for each node that is left, some rule has to name them. Never who asked."""
    people: frozenset[str] | None = None
    for node, occasion in question.occasions.items():
        named: set[str] = set()
        for rule in policy.approvers:
            if occasion in rule.tiers and any(fnmatchcase(node, pattern) for pattern in rule.nodes):
                named |= _people(rule, policy, escalated)
        people = frozenset(named) if people is None else people & named
    asked_by = person_of(question.requested_by, policy)
    return (people or frozenset()) - ({asked_by} if asked_by is not None else frozenset())


def asked_for(identity: str, question: Question, policy: ApprovalPolicy) -> bool:
    """Whether this one asked for it, by whichever identity: they may take it back, and no more."""
    person = person_of(identity, policy)
    return identity == question.requested_by or (
        person is not None and person == person_of(question.requested_by, policy)
    )


def why_may_not(identity: str, proposal: Proposal, policy: ApprovalPolicy) -> str | None:
    """Why this one may not answer it; None when they may."""
    question = proposal.question
    shown = visible(identity, 60)
    person = person_of(identity, policy)
    if asked_for(identity, question, policy):
        return f"{person if identity != question.requested_by else shown} asked for it, and who asks never agrees"
    if person is None:
        nobody = ": policy names nobody (approval.approvers)" if not policy.approvers else ""
        return f"{shown} is none of policy's people{nobody}"
    escalated = proposal.state is ApprovalState.ESCALATED or proposal.seen_at >= proposal.halfway
    if person in may_answer(question, policy, escalated=escalated):
        return None
    if person in may_answer(question, policy, escalated=True):
        return f"{person} may only once half of its time is over, from {proposal.halfway:%H:%M:%S} UTC on"
    nodes = ", ".join(visible(f"{node} ({why})", 60) for node, why in list(question.occasions.items())[:5])
    return f"policy does not let {person} answer for {nodes or 'it'}"


def why_silence_is_no(question: Question, policy: Policy) -> str | None:
    """Why this plan does not go ahead when nobody answers; None when it does: policy names its class, and it stops no guest."""
    approval, moves = policy.approval, question.plan.moves
    if not approval.unanswered:
        return "policy lets nothing go ahead unanswered"
    if not moves or any(action.kind is not ActionKind.LIVE_MIGRATE for action in moves):
        return "it does not only move guests live"
    if policy.migration.suspend:
        return "policy may suspend a guest that is moved live (migration.suspend)"
    if needed(question.plan, approval).people > 1:
        return "it takes two people"
    if not may_answer(question, approval, escalated=True):
        return "nobody could have rejected it"
    for node, occasion in question.occasions.items():
        if not any(
            occasion in rule.tiers
            and len(moves) <= rule.most_vms
            and any(fnmatchcase(node, each) for each in rule.nodes)
            for rule in approval.unanswered
        ):
            return f"no rule of approval.unanswered is for {len(moves)} vms and node {visible(node, 60)} ({occasion})"
    return None if question.occasions else "it leaves no node"


def why_may_not_steer(identity: str, nodes: Collection[str], policy: ApprovalPolicy) -> str | None:
    """Why this one may not pause or resume what nobody was asked about; None when a rule names them for each node it leaves."""
    person = person_of(identity, policy)
    if person is None:
        return f"{visible(identity, 60)} is none of policy's people"
    for node in nodes:
        rules = [rule for rule in policy.approvers if any(fnmatchcase(node, each) for each in rule.nodes)]
        if not any(person in _people(rule, policy, escalated=True) for rule in rules):
            return f"policy does not let {person} answer for {visible(node, 60)}"
    return None if nodes else "it leaves no node that a rule could be for"


def why_not_enough(proposal: Proposal, rules: Policy) -> str | None:
    """Right before it is carried out, with the policy of who carries it out: why the agreements do not hold; None: they do."""
    policy = rules.approval
    if not proposal.agreements and (why := why_silence_is_no(proposal.question, rules)) is not None:
        return f"nobody agreed to it, and {why}"
    if not proposal.agreements:
        return None
    needs = needed(proposal.question.plan, policy)
    if needs.people > len({one.person for one in proposal.agreements}):
        return f"it needs {counted(needs.people, 'person', 'people')}: {needs.why or 'policy asks'}"
    if needs.outside_slack and all(one.by.startswith("slack:") for one in proposal.agreements):
        return "one of them has to agree outside Slack"
    allowed = may_answer(proposal.question, policy, escalated=True)
    for one in proposal.agreements:
        if (
            person_of(one.by, policy) != one.person
            or one.person not in allowed
            or one.by == proposal.question.requested_by
        ):
            return f"policy does not let {visible(one.by, 60)} agree to it"
    return None


def why_nobody_can(question: Question, policy: ApprovalPolicy) -> str | None:
    """Why no answer can ever be enough; None when policy names enough people."""
    allowed = may_answer(question, policy, escalated=True)
    needs = question.needs
    if len(allowed) < needs.people:
        have = (
            f"policy lets {counted(len(allowed), 'person', 'people')} answer it"
            if allowed
            else "policy lets nobody answer it"
        )
        return f"{have} (approval.approvers), and it needs {needs.people}"
    if needs.outside_slack and not any(
        not identity.startswith("slack:") for person in allowed for identity in policy.people[person]
    ):
        return "one has to agree outside Slack, and policy knows all of them only there (approval.people)"
    return None


def _people(rule: ApproverRule, policy: ApprovalPolicy, escalated: bool) -> set[str]:
    return set(_members((*rule.may, *rule.then) if escalated else rule.may, policy))


def _members(names: Collection[str], policy: ApprovalPolicy) -> list[str]:
    return [person for name in names for person in policy.groups.get(name, (name,))]
