"""Look again while an evacuation runs, and withdraw what has not begun and is not wanted any more.

A look never holds an action up: it runs in the background, one at a time, and what an action is told is what the newest said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from agent.actions.resources import Resources
from agent.assess.monitor import Look
from agent.assess.tiers import Tiers, record_changes
from agent.execute.evacuation import Watcher
from agent.execute.periodic import meanwhile
from models.errors import LifeboatError
from models.fleet import Fleet, NodeState
from models.plan import Action, Plan
from models.risk.risk import Risk
from models.risk.risk_level import NodeRisk, RiskLevel
from models.risk.tier import NodeTier, Tier
from models.situation import Situation
from tools.ports.journal import Record
from tools.ports.records.evacuations import PollFailed, TargetsChanged
from tools.tracing.spans import span
from tools.tracing.trace import tracing


@dataclass(frozen=True)
class TargetChanges:
    """What the looks so far say of the nodes of one plan; empty: go on with what was approved."""

    recovered: Mapping[str, str] = field(default_factory=dict[str, str])
    """sources that need not be left any more, each with why"""
    unfit: Mapping[str, str] = field(default_factory=dict[str, str])
    """targets that must take no vm now, each with why"""
    urgent: Mapping[str, str] = field(default_factory=dict[str, str])
    """sources that were left at leisure and have to be evacuated now, each with why"""


def changes_since(
    fleet: Fleet,
    node_risks: Mapping[str, NodeRisk],
    tiers: Mapping[str, NodeTier],
    *,
    by_risk: Collection[str],
    targets: Iterable[str],
    at_leisure: Collection[str] = (),
) -> TargetChanges:
    """What one look says. `by_risk`: the sources that may recover, being left for their risk and not because a person
    named them; `at_leisure`: those of them that were below the trigger. Unknown is no recovery, and no target."""
    recovered = {
        node: tiers[node].why
        for node in by_risk
        if tiers[node].tier is Tier.WATCH and node_risks[node].level is not RiskLevel.UNKNOWN
    }
    unfit: dict[str, str] = {}
    for name in targets:
        node = fleet.node_by_name.get(name)
        if node is None or node.state is not NodeState.ACTIVE:
            unfit[name] = "it is not in the fleet any more" if node is None else f"it is {node.state}"
        elif node_risks[name].level is not RiskLevel.ACCEPTABLE:
            unfit[name] = node_risks[name].why
    urgent = {node: tiers[node].why for node in at_leisure if tiers[node].tier is Tier.EVACUATE}
    return TargetChanges(recovered, unfit, urgent)


def after_failed_look(seen: TargetChanges) -> TargetChanges:
    """Unknown is not healthy: what had recovered may not have, and what was unfit still is."""
    return replace(seen, recovered={})


def why_withdraw(action: Action, seen: TargetChanges, *, evacuating: Collection[str] = ()) -> str | None:
    """Why an action that has not begun must not begin; None when it may. `evacuating`: the nodes that the plan empties."""
    if evacuating and action.source not in evacuating and all(node in seen.recovered for node in evacuating):
        return f"nothing needs the room any more that it makes on {action.source}"
    if action.source in seen.recovered:
        return f"node {action.source} has recovered ({seen.recovered[action.source]})"
    if action.source in seen.urgent:
        return (
            f"node {action.source} has to be evacuated now ({seen.urgent[action.source]}): what is left is planned anew"
        )
    if action.target is not None and action.target in seen.unfit:
        return f"target {action.target} must take no vm now: {seen.unfit[action.target]}"
    return None


class WithdrawalWatch:
    """The looks taken while one evacuation runs."""

    def __init__(
        self,
        plan: Plan,
        situation: Situation,
        hands: Resources,
        look: Look,
        *,
        evacuation: str,
        tiers: Tiers | None,
        on_message: Callable[[str], None],
    ) -> None:
        """`situation` is the one at the start; `tiers` None: a person wants the plan carried out, so that no source is looked
        at for recovery."""
        self._situation, self._hands, self._look = situation, hands, look
        self._evacuation, self._tiers, self._on_message = evacuation, tiers, on_message
        self._targets = sorted({action.target for action in plan.moves if action.target})
        self._evacuating = frozenset(plan.evacuating)
        self._by_risk = frozenset(plan.evacuating) - set(plan.asked) if tiers is not None else frozenset[str]()
        self._at_leisure = frozenset(
            node
            for node in self._by_risk
            if node in situation.node_risks and situation.node_risks[node].level is not RiskLevel.TRIGGERED
        )
        self._seen = TargetChanges()
        self._poll_failed = ""

    def withdraw(self, action: Action) -> str | None:
        """`why_withdraw`, by the newest look. At once."""
        return why_withdraw(action, self._seen, evacuating=self._evacuating)

    @contextmanager
    def steering(self, watcher: Watcher, every: timedelta | None) -> Generator[Watcher]:
        """The watcher of an evacuation that withdraws what the looks say; `every` None: nobody looks again."""

        def withdraw(action: Action) -> str | None:
            return watcher.should_withdraw(action) or self.withdraw(action)

        steered = replace(watcher, should_withdraw=withdraw)
        if every is None:
            yield steered
            return
        with self.looking(every):
            yield steered

    @contextmanager
    def looking(self, every: timedelta) -> Generator[None]:
        """Look again and again for as long as the block runs; a look that is under way at its end is waited for."""
        seconds, clock = every.total_seconds(), self._hands.clock
        with meanwhile(self.look_again, lambda over: clock.wait(over, seconds), name=f"lookout {self._evacuation}"):
            yield

    def look_again(self) -> None:
        """One look. A failed one is said once, and changes nothing that was approved."""
        with tracing(evacuation=self._evacuation):
            self._look_again()

    def _look_again(self) -> None:
        try:
            with span("look"):
                fleet, risks = self._look()
            self.take(fleet, risks)
        except Exception as error:  # whatever it is, the evacuation must not end for it
            if self._tiers is not None:
                self._tiers.keep_tiers(self._hands.clock.now())
            self._update(after_failed_look(self._seen))
            why = error.message if isinstance(error, LifeboatError) else f"unexpected {type(error).__name__}: {error}"
            if not self._poll_failed:
                self._record(PollFailed(why=why))
                self._on_message(f"the fleet could not be looked at again, so what was approved goes on: {why}")
            self._poll_failed = why

    def take(self, fleet: Fleet, risks: list[Risk]) -> None:
        """What a look found."""
        now = self._hands.clock.now()
        # by the vms it held at the start: a node does not recover by being emptied
        at_start = replace(self._situation, risks=risks, now=now)
        tiers: dict[str, NodeTier] = {}
        if self._tiers is not None:
            judged = self._tiers.judge(at_start)
            record_changes(judged.values(), self._hands.journal, now)
            tiers = {node: one.now for node, one in judged.items()}
        self._update(
            changes_since(
                fleet,
                at_start.node_risks,
                tiers,
                by_risk=self._by_risk,
                targets=self._targets,
                at_leisure=self._at_leisure,
            )
        )
        if self._poll_failed:
            self._on_message("the fleet was looked at again")
        self._poll_failed = ""

    def _update(self, seen: TargetChanges) -> None:
        before, self._seen = self._seen, seen
        if all(getattr(before, what).keys() == getattr(seen, what).keys() for what in ("recovered", "unfit", "urgent")):
            return
        self._record(TargetsChanged(recovered=dict(seen.recovered), unfit=dict(seen.unfit), urgent=dict(seen.urgent)))
        for node in seen.urgent.keys() - before.urgent.keys():
            self._on_message(f"node {node} has to be evacuated now ({seen.urgent[node]}): what is left is planned anew")
        for node in seen.recovered.keys() - before.recovered.keys():
            self._on_message(f"node {node} has recovered ({seen.recovered[node]}): what has not begun is withdrawn")
        for node in seen.unfit.keys() - before.unfit.keys():
            self._on_message(f"node {node} must take no vm now ({seen.unfit[node]}): what has not begun is withdrawn")

    def _record(self, record: Record) -> None:
        self._hands.journal.append(record, now=self._hands.clock.now(), evacuation=self._evacuation)
