"""Which policy each of several lifeboats goes by: what one may do must not change with who leads."""

from __future__ import annotations

from models.text import listed, visible
from tools.ports.clock import Clock
from tools.ports.journal import Journal
from tools.ports.records.nodes import AgentPolicy


class AgentPolicies:
    """Tells the others which policy this agent goes by, and finds those that go by another."""

    def __init__(self, journal: Journal, clock: Clock, *, agent: str, sha256: str) -> None:
        """`journal`: one that may be written whoever leads. `sha256`: of this agent's policy."""
        self._journal, self._clock, self._agent, self._sha256 = journal, clock, agent, sha256
        self._told = False

    def difference(self, agents: set[str]) -> str | None:
        """Who of `agents`, the others that live, goes by another policy, in one line; None where all agree. Raises JournalInvalid
        and NotWritten."""
        newest = {entry.record.agent: entry.record.sha256 for entry in self._journal.of(AgentPolicy)}
        if not self._told and newest.get(self._agent) != self._sha256:
            self._journal.append(AgentPolicy(agent=self._agent, sha256=self._sha256), now=self._clock.now())
        self._told = True
        other = {agent: sha for agent, sha in newest.items() if agent in agents and sha != self._sha256}
        if not other:
            return None
        names = listed([f"{visible(agent, 60)} ({sha[:8]}…)" for agent, sha in sorted(other.items())])
        return f"{self._agent} goes by policy {self._sha256[:8]}…, and {names} by another: what is allowed changes with who leads"
