"""One lab for all lab tests of a session. Tests leave each guest running where they found it, or bring their own lab."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.lifecycle.down import down
from lab.lifecycle.up import up
from lab.nodes.node import Lab
from lab.nodes.preflight import preflight

LAB_NAME = "test" + os.environ.get("PYTEST_XDIST_WORKER", "")


@pytest.fixture(scope="session")
def can_have_lab() -> None:
    """Skips where this machine can't carry a lab, and says what is missing."""
    missing = preflight()
    if missing:
        pytest.skip(f"no lab here: {'; '.join(str(thing) for thing in missing)}")


@pytest.fixture(scope="session")
def lab(can_have_lab: None) -> Iterator[Lab]:
    """The whole lab, hardware and Prometheus included; not the one named "default", which may be in use."""
    down(LAB_NAME)  # left by a session that was killed
    yield up(LAB_NAME, print)
    down(LAB_NAME)
