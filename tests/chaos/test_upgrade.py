"""Evacuations that older versions of lifeboat began are finished by this one. SIMULATED nodes.

What those versions left when they were killed is in `scenes/upgrade`; more of it, of any commit: `python -m chaos.upgrade`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.upgrade import finish

KEPT = sorted((Path(__file__).parents[1] / "scenes/upgrade").glob("*.tar.xz"))


@pytest.mark.slow
@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name.removesuffix(".tar.xz"))
def test_what_an_older_version_began_is_finished_and_no_guest_is_lost_or_doubled(kept: Path, tmp_path: Path) -> None:
    found = finish(kept, tmp_path)
    assert (found.lost, found.doubled, found.left_over, found.wrong) == ([], [], [], [])
    assert found.outcomes.keys() in ({"web", "db", "churn", "spare", "batch"}, set()), "nothing was approved yet"


def test_there_is_something_kept_of_two_older_versions() -> None:
    assert len({kept.name.partition("-")[0] for kept in KEPT}) >= 2
