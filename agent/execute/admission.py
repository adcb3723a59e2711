"""Admission: which action of an evacuation may begin now, in the plan's order and within every limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from models.plan import Action
from models.planning.schedule import may_join
from models.policy.policy import LimitPolicy

_LOOK_SECONDS = 0.2


class AdmissionQueue:
    """Where the actions of one evacuation wait until they may begin. Thread-safe.

    An action is known by its number in the plan. It is let in at once when one that ran leaves; only what comes from
    outside (a pause that ends, a node that recovers) is noticed by looking again, every 0.2 s.
    """

    def __init__(
        self,
        actions: Sequence[Action],
        limits: LimitPolicy,
        *,
        stopped: Callable[[Action], str | None],
        paused: Callable[[], bool],
    ) -> None:
        """`stopped`: why an action must not begin any more, or None."""
        self._actions, self._limits = actions, limits
        self._stopped, self._paused = stopped, paused
        self._changed = threading.Condition()
        self._waiting: list[int] = []
        self._running: dict[int, Action] = {}
        self._turned_away: dict[int, str] = {}
        self._left: set[int] = set()

    def announce(self, numbers: Iterable[int]) -> None:
        """These will come, in this order, whichever of their threads is first; those that have left will not."""
        with self._changed:
            known = {*self._waiting, *self._running, *self._turned_away, *self._left}
            self._waiting += [number for number in numbers if number not in known]

    def acquire(self, number: int) -> str | None:
        """Wait until it may begin: None; or the reason why it must not begin any more. `release` must follow."""
        with self._changed:
            if number not in (*self._waiting, *self._running, *self._turned_away):
                self._waiting.append(number)
            while True:
                self._let_in()
                if number in self._running:
                    return None
                if number in self._turned_away:
                    return self._turned_away[number]
                self._changed.wait(_LOOK_SECONDS)

    def release(self, number: int) -> None:
        """It is over, or needs no turn after all. For good."""
        with self._changed:
            self._left.add(number)
            if number in self._waiting:
                self._waiting.remove(number)
            self._running.pop(number, None)
            self._let_in()

    def _let_in(self) -> None:
        for number in list(self._waiting):
            action = self._actions[number]
            reason = self._stopped(action)
            if reason is not None:
                self._turned_away[number] = reason
            elif not self._paused() and may_join(action, list(self._running.values()), self._limits):
                self._running[number] = action
            else:
                continue
            self._waiting.remove(number)
            self._changed.notify_all()
