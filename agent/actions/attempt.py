"""One attempt: one try at one action, with an id that is used once. What the three kinds of move have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from agent.actions.made_files import MadeFiles
from agent.actions.progress import CopyState, Progress
from agent.actions.reconcile import NodeView
from agent.actions.resources import Resources
from models.errors import LifeboatError, PrecheckFailed
from models.evacuation import ArchiveFacts, AttemptOutcome, Evidence, Measured
from models.fleet import Vm, VmState
from models.plan import Action
from models.policy.policy import Policy
from tools.ports.journal import Entry, R, Record
from tools.ports.records.attempts import AttemptIntended, TagLeft
from tools.ports.vms import VmObservation


@dataclass(frozen=True, kw_only=True)
class AttemptResult:
    """How an attempt ended, as observed."""

    outcome: AttemptOutcome
    message: str
    error_code: str | None = None
    measured: Measured = field(default_factory=Measured)
    archive: ArchiveFacts | None = None
    evidence: tuple[Evidence, ...] = ()
    refusal: LifeboatError | None = None
    """what refused the move, where it would again"""

    @property
    def keeps_lock(self) -> bool:
        return self.outcome is AttemptOutcome.INDETERMINATE


@dataclass(frozen=True, kw_only=True)
class AttemptContext:
    """What one attempt works with. `record` writes to the journal and returns when it is on disk."""

    id: str
    evacuation: str
    action: Action
    vm: Vm
    """as the fleet snapshot had it"""
    policy: Policy
    hands: Resources
    on_progress: Callable[[Progress], None]
    cancelled: threading.Event = field(default_factory=threading.Event)

    def record(self, record: Record) -> None:
        self.hands.journal.append(record, now=self.hands.clock.now(), evacuation=self.evacuation, attempt=self.id)

    def recorded(self, *kinds: type[R]) -> list[Entry[R]]:
        """What this attempt has written of these kinds, in order."""
        return self.hands.journal.of(*kinds, attempt=self.id)

    def record_intent(self, initial: VmObservation) -> None:
        """On disk before the first side effect, with all that recovery needs to judge what it finds."""
        self.record(AttemptIntended(action=self.action, initial=initial))

    @property
    def files(self) -> MadeFiles:
        """What it makes at the target."""
        return MadeFiles(hands=self.hands, vm=self.vm.uuid, attempt=self.id, evacuation=self.evacuation)

    def remove_created(self) -> list[str]:
        """`MadeFiles.remove`."""
        return self.files.remove()

    def defer_removal(self, why: str) -> list[str]:
        """`MadeFiles.defer_removal`."""
        return self.files.defer_removal(why)

    def clear_attempt_tag(self, *views: NodeView) -> None:
        """This attempt's, wherever these looks show it: left there, it would keep every later attempt from the vm."""
        for view in views:
            if view.observation is None or view.observation.attempt != self.id:
                continue
            try:
                self.hands.node(view.node).tag_attempt(self.vm.uuid, None)
            except LifeboatError as error:
                self.record(TagLeft(node=view.node, vm=self.vm.uuid, error=str(error)))

    def progress(
        self, phase: str, fraction: float | None = None, detail: str = "", copy: CopyState | None = None
    ) -> None:
        self.on_progress(
            Progress(
                attempt=self.id,
                action=self.action,
                phase=phase,
                fraction=fraction,
                detail=detail or str(copy or ""),
                copy=copy,
            )
        )

    @property
    def target(self) -> str:
        """The node that a live or cold move goes to: `Action` has no such move without one."""
        assert self.action.target is not None
        return self.action.target

    @property
    def label(self) -> str:
        """How messages name the vm."""
        return f"vm {self.vm.name} ({self.vm.uuid})"

    def find_on_source(self, *states: VmState) -> VmObservation:
        """The vm as the source shows it now. Raises PrecheckFailed when it is gone or in another state, and
        NodeUnreachable."""
        initial = self.hands.node(self.action.source).observe(self.vm.uuid)
        if initial is None:
            raise PrecheckFailed(
                f"{self.label} is no longer on node {self.action.source}",
                hint="it moved or was removed since the plan was made; plan again",
            )
        if initial.state not in states:
            raise PrecheckFailed(
                f"{self.label} on node {self.action.source} is {initial.state}, the plan needs it {' or '.join(states)}",
                hint="plan again with the fleet as it is now",
            )
        if initial.attempt is not None and initial.attempt != self.id:
            raise PrecheckFailed(
                f"{self.label} on node {self.action.source} carries the mark of another attempt, {initial.attempt}",
                hint="another lifeboat may be moving it; see `lifeboat status`, or remove the mark once none is",
            )
        return initial

    def require_nobody_else_runs_it(self) -> None:
        """Raises PrecheckFailed when any other node that answers knows this uuid."""
        for view in self.hands.observe_on_all_nodes(self.vm.uuid, except_for=frozenset({self.action.source})):
            if view.observation is not None:
                raise PrecheckFailed(
                    f"{self.label} is known on node {view.node} as well ({view.seen})",
                    hint="find out which copy is the right one and undefine the other; nothing was changed",
                )

    def evidence(self, *views: NodeView, at: datetime | None = None) -> tuple[Evidence, ...]:
        moment = at or self.hands.clock.now()
        return tuple(
            Evidence(node=view.node, seen=view.seen, observed_at=moment, detail=_detail(view)) for view in views
        )


def _detail(view: NodeView) -> str:
    if view.observation is None:
        return ""
    disks = f"{len(view.observation.disks)} disk{'' if len(view.observation.disks) == 1 else 's'}"
    return f"same uuid, {disks}{', arriving' if view.arriving else ''}"
