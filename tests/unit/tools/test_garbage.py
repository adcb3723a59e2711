"""When the cycle collector runs: not while a look is made, through what it left only once an hour, and never not at all."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tools.clock import VirtualClock
from tools.garbage import COLLECT_SECONDS, UNCOLLECTED, LongLived


class Circle:
    """Refers to itself: only the collector finds it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def frozen_as_before() -> Iterator[None]:
    yield
    gc.freeze()


@pytest.mark.slow
def test_what_a_look_left_is_searched_once_an_hour() -> None:
    clock = VirtualClock()
    long_lived = LongLived(clock)
    with long_lived.making():
        assert not gc.isenabled()
        looked = Circle()
        later = weakref.ref(looked)
    assert gc.isenabled()
    del looked
    gc.collect()
    assert later() is not None, "it was left out"
    clock.sleep(COLLECT_SECONDS)
    with long_lived.making():
        pass
    assert later() is None


def test_what_failed_in_a_look_is_let_go_of_at_its_end() -> None:
    def answer() -> None:
        held = Circle()
        left.append(weakref.ref(held))
        raise ValueError("no answer")

    left: list[weakref.ref[Circle]] = []
    with LongLived(VirtualClock()).making():
        for _ in range(3):
            with pytest.raises(ValueError, match="no answer"):
                answer()
    assert [each() for each in left] == [None] * 3


def test_a_look_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ValueError, match="no answer"), LongLived(VirtualClock()).making():
        raise ValueError("no answer")
    assert gc.isenabled()


def test_the_collector_comes_back_with_the_last_who_held_it() -> None:
    with UNCOLLECTED:
        with UNCOLLECTED:
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
