"""Lifeboats that share a journal and go by different policies say so, and only they."""

from __future__ import annotations

from pathlib import Path

from agent.approve.proposals import policy_digest
from agent.state.agent_policies import AgentPolicies
from models.policy.policy import Autonomy, Policy
from tools.clock import VirtualClock
from tools.journal.sqlite import SqliteJournal

CAREFUL, BOLD = policy_digest(Policy()), policy_digest(Policy(autonomy=Autonomy.SHADOW))


def test_two_that_differ_are_told_both_until_they_agree_and_one_that_is_gone_counts_no_more(tmp_path: Path) -> None:
    journal, clock = SqliteJournal(tmp_path / "journal.sqlite"), VirtualClock()

    def agent(name: str, sha256: str) -> AgentPolicies:
        return AgentPolicies(journal, clock, agent=name, sha256=sha256)

    a, b = agent("a", CAREFUL), agent("b", BOLD)
    assert a.difference({"b"}) is None, "b has not told yet"
    for one, other in ((b, "a"), (a, "b")):
        said = one.difference({other})
        assert said is not None
        assert f"{other} (" in said
    assert a.difference(set()) is None
    b = agent("b", CAREFUL)  # it has read its files anew
    b.difference({"a"})
    assert a.difference({"b"}) is None
    assert b.difference({"a"}) is None
    journal.close()
