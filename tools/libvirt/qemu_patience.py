"""How long QEMUs are waited for: a guest whose QEMU hangs must not make its whole node look unreachable."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tools.bounded_call import BoundedCall

T = TypeVar("T")

ALTOGETHER_SECONDS = 2.5
"""in one look at a node; less than the patience with the node itself (`agent.observe.observe`)"""
ONE_SECONDS = 0.7
"""for one answer, which takes milliseconds where QEMU is well; a job may hold it up for half a minute"""


class QemuPatience:
    """For one look: what is left of it. Who was silent once is not asked again in the same look."""

    def __init__(self, *, altogether: float = ALTOGETHER_SECONDS, one: float = ONE_SECONDS) -> None:
        self._left, self._one = altogether, one
        self._silent: set[str] = set()

    def ask(self, vm: str, what: str, function: Callable[[], T]) -> T | None:
        """The answer; None when there was none in time, or an error. `vm`: its uuid."""
        seconds = min(self._one, self._left)
        if vm in self._silent or seconds <= 0:
            return None
        began = time.monotonic()
        call = BoundedCall(function, name=f"{what}-{vm}")
        answered = call.wait(seconds)
        if not answered:
            self._silent.add(vm)
            self._left -= time.monotonic() - began
            return None
        return call.result() if call.error is None else None
