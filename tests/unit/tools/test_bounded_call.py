"""A call that may hang costs whoever waits for it only so long."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from tools.bounded_call import BoundedCall


def test_what_it_returns_is_the_result():
    call = BoundedCall(lambda: 6 * 7, name="answer")
    assert call.wait(5)
    assert call.result() == 42
    assert call.error is None


def test_what_it_raises_is_raised_to_whoever_asks_for_the_result():
    def fail() -> int:
        raise ValueError("no such node")

    call = BoundedCall(fail, name="answer")
    assert call.wait(5)
    assert str(call.error) == "no such node"
    with pytest.raises(ValueError, match="no such node"):
        call.result()


def test_even_an_exit_ends_the_call_and_not_only_its_thread():
    call = BoundedCall(lambda: sys.exit(3), name="answer")
    assert call.wait(5), "or its caller would wait for ever"
    assert isinstance(call.error, SystemExit)


def test_one_that_hangs_is_given_up_on_in_time_and_its_late_answer_still_comes():
    let_go = threading.Event()
    call = BoundedCall(lambda: let_go.wait(30), name="hung")
    began = time.monotonic()
    assert not call.wait(0.05)
    assert time.monotonic() - began < 5
    assert not call.over
    with pytest.raises(TimeoutError):
        call.result()
    let_go.set()
    assert call.wait(5)
    assert call.result() is True


def test_a_deadline_that_has_passed_is_no_wait_at_all():
    let_go = threading.Event()
    call = BoundedCall(lambda: let_go.wait(30), name="hung")
    assert not call.wait(-1.0)
    let_go.set()


def test_one_that_hangs_does_not_keep_the_process_from_ending():
    program = (
        "import threading; from tools.bounded_call import BoundedCall; "
        "print(BoundedCall(threading.Event().wait, name='hung').wait(0.01))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "False\n"
