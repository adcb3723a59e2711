"""Of several background agents that share a database one leads; the others look, stand by, and take over."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog

from agent.service.control_loop import ControlLoop
from agent.state.agent_policies import AgentPolicies
from agent.state.whereabouts import Whereabouts
from models.errors import LifeboatError
from models.fleet import Fleet
from tools.ports.journal import Leadership, NotWritten

log = structlog.get_logger("lifeboat")


@dataclass(kw_only=True)
class Leading:
    """What `serve` asks before each pass."""

    leadership: Leadership
    whereabouts: Whereabouts
    policies: AgentPolicies | None = None
    """None: nobody compares them"""
    _differing: str | None = None
    _epoch: int | None = None
    """under which the last pass of this agent was"""
    _led_by: str = ""

    @contextmanager
    def standing_by(self) -> Generator[None]:
        """For as long as the block runs."""
        with self.leadership.standing_by():
            log.info("agent", name=self.leadership.agent)
            yield

    def lead(self, loop: ControlLoop) -> bool:
        """Whether this agent leads now. What the loop remembers of an earlier lease is forgotten: others have acted since.
        Raises BadInput where the database does not answer."""
        self._compare_policies()
        if not self.leadership.lead():
            leader = self.leadership.leader()
            if leader != self._led_by:
                log.info("standing-by", leader=leader or "nobody yet")
            self._epoch, self._led_by = None, leader
            return False
        epoch = self.leadership.epoch()
        if epoch != self._epoch:
            log.info("leading", epoch=epoch)
            loop.forget()
        self._epoch, self._led_by = epoch, self.leadership.agent
        return True

    def _compare_policies(self) -> None:
        """Say once that others go by another policy, and once that they agree again."""
        if self.policies is None:
            return
        try:
            found = self.policies.difference({other.name for other in self.leadership.others()})
        except (LifeboatError, NotWritten):
            return  # the pass itself says what is wrong with the database
        if found is not None and found != self._differing:
            log.error("policies-differ", why=found, mend="give every agent the same policy_file, then `kill -HUP` it")
        elif found is None and self._differing is not None:
            log.info("policies-agree")
        self._differing = found

    def look(self, loop: ControlLoop) -> None:
        """As who stands by does: what is kept of the past goes on, and where this agent runs is known. Raises LifeboatError."""
        fleet, _ = loop.look()
        self.leadership.node = self.whereabouts.node_in(fleet)

    def is_free(self) -> bool:
        """Whether who stands by finds that it leads now. Cheap, and never raises."""
        with suppress(LifeboatError):
            return self._epoch is None and self.leadership.lead()
        return False

    def hand_over(self, fleet: Fleet, to_leave: Collection[str]) -> str | None:
        """Let another agent lead before the node is emptied that this one runs on; what was done, None when there was nothing to
        do. Where every other agent runs there too, or there is none, this one goes on: somebody has to."""
        node = self.leadership.node = self.whereabouts.node_in(fleet)
        if not node or node not in to_leave:
            return None
        elsewhere = [other.name for other in self.leadership.others() if other.node != node]
        if not elsewhere:
            log.warning("runs-on-a-node-to-leave", node=node, others="none elsewhere: this agent goes on")
            return None
        self.leadership.resign(avoiding=node)
        self._epoch = None
        return (
            f"{node}, on which this lifeboat itself runs, should be left: handed over to {', '.join(sorted(elsewhere))}"
        )
