"""Guests whose QEMU hangs: the others are asked, and the node answers in time."""

from __future__ import annotations

import threading
import time

from tools.libvirt.qemu_patience import QemuPatience


def test_hung_guests_cost_a_bounded_time_and_the_others_are_asked() -> None:
    released = threading.Event()
    patience = QemuPatience(altogether=0.5, one=0.1)
    began = time.monotonic()
    for _ in range(3):  # a disk each
        assert patience.ask("hung-1", "sizes", released.wait) is None
        assert patience.ask("hung-2", "sizes", released.wait) is None
    assert patience.ask("well", "sizes", lambda: (1, 2, 3)) == (1, 2, 3)
    assert time.monotonic() - began < 0.5
    released.set()


def test_when_patience_is_used_up_nobody_else_is_waited_for() -> None:
    released = threading.Event()
    patience = QemuPatience(altogether=0.2, one=0.15)
    began = time.monotonic()
    assert [patience.ask(f"hung-{n}", "sizes", released.wait) for n in range(20)] == [None] * 20
    assert time.monotonic() - began < 1.0
    released.set()


def test_an_error_is_no_answer() -> None:
    def refuses() -> int:
        raise OSError("no such device")

    assert QemuPatience().ask("vm", "sizes", refuses) is None
