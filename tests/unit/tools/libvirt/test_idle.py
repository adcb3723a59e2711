"""What nobody uses is closed; what somebody uses never is."""

from __future__ import annotations

import threading

from tools.libvirt.idle import Idle


def test_what_is_in_use_is_closed_only_after_the_last_one_has_ended() -> None:
    users = 0
    closed_beside: list[int] = []
    closed = threading.Event()

    def close(_: str) -> None:
        closed_beside.append(users)
        closed.set()

    idle = Idle(0.001, lambda: ["connection"], close)
    for _ in range(50):  # each ends just when the wait of the one before may be over
        with idle.busy():
            users += 1
            with idle.busy():
                pass
            users -= 1
    assert closed.wait(30)
    assert set(closed_beside) == {0}
