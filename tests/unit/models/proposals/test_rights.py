"""Who may answer, and how many it takes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scenes.approvals import NOON, PEOPLE, TTL, fleet, plan, policy, question

from models.plan import ActionKind
from models.policy.approvers import ApproverRule, Occasion, TwoPeoplePolicy, UnansweredRule
from models.policy.policy import ApprovalPolicy, Policy
from models.proposals.rights import may_answer, needed, why_may_not, why_nobody_can, why_not_enough, why_silence_is_no
from models.proposals.states import Agreement, ApprovalState, Proposal, as_of


def asked(under: Policy, *, requested_by: str = "lifeboat", archive: bool = False) -> Proposal:
    there = fleet()
    return Proposal.asked(question(plan(there, archive=archive), there, under, requested_by=requested_by))


def why_not(identity: str, under: Policy, *, later: float = 0.0, requested_by: str = "lifeboat") -> str | None:
    proposal = asked(under, requested_by=requested_by).model_copy(update={"seen_at": NOON + later * TTL})
    return why_may_not(identity, proposal, under.approval)


def test_an_empty_list_is_nobody() -> None:
    assert "policy names nobody" in str(why_not("terminal:ana", Policy()))
    assert "lets nobody" in str(why_nobody_can(asked(Policy()).question, Policy().approval))


def test_the_named_may_and_others_not_wherever_they_say_so() -> None:
    assert why_not("terminal:ana", policy()) is None
    assert why_not("slack:UANA", policy()) is None
    for stranger in ("slack:U0", "terminal:ANA", "webhook:ana", "ana", "", "slack:UANA "):
        assert "none of policy's people" in str(why_not(stranger, policy()))


def test_the_next_group_may_from_half_of_the_time_on() -> None:
    assert "only once half" in str(why_not("terminal:boss", policy(), later=0.49))
    assert why_not("terminal:boss", policy(), later=0.5) is None
    assert why_not("terminal:ana", policy(), later=0.5) is None, "the first still may"


@pytest.mark.parametrize("other", ["terminal:ana", "slack:UANA"])
def test_who_asked_never_agrees_under_any_of_their_names(other: str) -> None:
    assert "who asks never agrees" in str(why_not(other, policy(), requested_by="terminal:ana"))
    assert why_not("terminal:tom", policy(), requested_by="terminal:ana") is None


def test_a_rule_is_for_its_tiers_and_nodes() -> None:
    narrow = policy(
        approvers=(
            ApproverRule(may=("ana",), tiers=(Occasion.DRAIN,)),
            ApproverRule(may=("tom",), nodes=("node-b*",)),
            ApproverRule(may=("eve",), nodes=("node-a*",), tiers=(Occasion.EVACUATE,)),
        )
    )
    assert may_answer(asked(narrow).question, narrow.approval, escalated=True) == {"eve"}
    both = asked(narrow).question.model_copy(
        update={"occasions": {"node-a": Occasion.EVACUATE, "node-b1": Occasion.EVACUATE}}
    )
    assert may_answer(both, narrow.approval, escalated=True) == frozenset(), "nobody may for both nodes"


def test_two_where_guests_stop_or_many_move() -> None:
    there = fleet()
    assert needed(plan(there), policy().approval).people == 1
    stops = needed(plan(there, archive=True), policy().approval)
    assert (stops.people, stops.why) == (2, "it stops 1 guest")
    many = needed(plan(there), policy(two_people=TwoPeoplePolicy(over_vms=1)).approval)
    assert "moves 2 vms" in many.why


def agreed(under: Policy, *identities: tuple[str, str]) -> str | None:
    proposal = asked(under, archive=True)
    yes = tuple(Agreement(person=person, by=by, at=NOON) for person, by in identities)
    return why_not_enough(proposal.model_copy(update={"agreements": yes}), under)


def test_before_it_is_carried_out_the_agreements_are_checked_again() -> None:
    assert agreed(policy(), ("ana", "terminal:ana"), ("tom", "slack:UTOM")) is None
    assert "needs 2 people" in str(agreed(policy(), ("ana", "terminal:ana")))
    assert "needs 2 people" in str(agreed(policy(), ("ana", "terminal:ana"), ("ana", "slack:UANA")))
    assert "does not let" in str(agreed(policy(), ("ana", "terminal:ana"), ("tom", "slack:UEVE")))
    outside = policy(two_people=TwoPeoplePolicy(outside_slack=True))
    assert "outside Slack" in str(agreed(outside, ("ana", "slack:UANA"), ("tom", "slack:UTOM")))
    assert agreed(outside, ("ana", "slack:UANA"), ("tom", "terminal:tom")) is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"people": PEOPLE, "groups": {"ops": ("bob",)}}, "group 'ops' names 'bob'"),
        ({"people": PEOPLE, "approvers": [{"may": ["ops"]}]}, "neither in people nor in groups"),
        ({"people": {"a": ["slack:U1"], "b": ["slack:U1"]}}, "both a and b"),
        ({"people": {"a": ["U1"]}}, "match pattern"),
        ({"people": PEOPLE, "groups": {"ana": ("tom",)}}, "a person and a group"),
    ],
)
def test_a_policy_that_names_nobody_by_mistake_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ApprovalPolicy.model_validate(wrong)


LIVE_ONLY = UnansweredRule(nodes=("node-*",), most_vms=2)


def silence(*, archive: bool = False, requested_by: str = "lifeboat", occasion: Occasion = Occasion.EVACUATE,
            suspend: bool = False, **approval: object) -> str | None:  # fmt: skip
    under = policy(**{"unanswered": (LIVE_ONLY,), **approval})
    under = under.model_copy(update={"migration": under.migration.model_copy(update={"suspend": suspend})})
    there = asked(under, archive=archive, requested_by=requested_by).question
    return why_silence_is_no(there.model_copy(update={"occasions": {"node-a": occasion}}), under)


def test_silence_is_yes_only_where_policy_names_it() -> None:
    assert silence() is None
    assert "lets nothing" in str(silence(unanswered=()))
    assert "no rule" in str(silence(unanswered=(UnansweredRule(most_vms=1),)))
    assert "no rule" in str(silence(unanswered=(UnansweredRule(nodes=("other",)),)))
    assert "no rule" in str(silence(occasion=Occasion.DRAIN))
    assert "no rule" in str(silence(occasion=Occasion.ASKED))
    assert "nobody could have rejected" in str(silence(approvers=()))
    assert "two people" in str(silence(two_people=TwoPeoplePolicy(over_vms=1)))
    with pytest.raises(ValidationError):
        UnansweredRule.model_validate({"tiers": ["asked"]})


@given(kinds=st.lists(st.sampled_from(ActionKind), max_size=6), suspend=st.booleans(), most=st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_silence_never_stops_a_guest(kinds: list[ActionKind], suspend: bool, most: int) -> None:
    under = policy(unanswered=(UnansweredRule(most_vms=most, tiers=(Occasion.DRAIN, Occasion.EVACUATE)),))
    under = under.model_copy(update={"migration": under.migration.model_copy(update={"suspend": suspend})})
    there = asked(under).question
    action = there.plan.actions[0]
    actions = tuple(action.model_copy(update={"kind": kind, "vm": f"vm-{n}"}) for n, kind in enumerate(kinds))
    about = there.model_copy(
        update={"plan": there.plan.model_copy(update={"actions": actions}), "silence_is_yes": True}
    )
    moves = [kind for kind in kinds if kind is not ActionKind.STAY]
    only_live = bool(moves) and set(moves) == {ActionKind.LIVE_MIGRATE}
    assert (why_silence_is_no(about, under) is None) == (only_live and not suspend and len(moves) <= most)
    late = as_of(Proposal.asked(about), NOON + TTL)
    assert late.state is ApprovalState.EXPIRED or not set(moves) - {ActionKind.LIVE_MIGRATE}
    assert not set(moves) & {ActionKind.COLD_MIGRATE, ActionKind.COLD_ARCHIVE} or late.state is ApprovalState.EXPIRED
