"""One pair of libvirtds for all tests of this folder; each test brings guests of its own name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from scenes.two_libvirtds import TwoLibvirtds, missing

_numbers = count(1)


@pytest.fixture(scope="session")
def started() -> Iterator[TwoLibvirtds]:
    lacking = missing()
    if lacking:
        pytest.skip(lacking)
    both = TwoLibvirtds()
    yield both
    both.close()


@pytest.fixture
def vm() -> str:
    """A guest's name that no test had before: what ends is gone a while after its test."""
    return f"vm-{next(_numbers)}"


@pytest.fixture
def two(started: TwoLibvirtds) -> Iterator[TwoLibvirtds]:
    yield started
    started.clear()
