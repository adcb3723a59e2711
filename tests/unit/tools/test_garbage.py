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
        lost = weakref.ref(Circle())
    assert gc.isenabled()
    gc.collect()
    assert lost() is not None, "it was left out"
    clock.sleep(COLLECT_SECONDS)
    with long_lived.making():
        pass
    assert lost() is None


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
