"""Three agents in processes of their own, and one real PostgreSQL: whatever happens to one, the guests are moved once.

A sample of `python -m chaos.agent_faults`. SIMULATED nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.agent_faults import LEASE_SECONDS, AgentHarness, Fault, Found, Schedule, drawn
from scenes.postgres_server import programs

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentHarness]:
    if programs() is None:
        pytest.skip("no PostgreSQL here: install Debian's package postgresql (./dev does, as root)")
    with AgentHarness(Path(tmp_path_factory.mktemp("agents"))) as harness:
        yield harness


def fault(what: str, whom: str = "leader", *, after: float = 0.7, seconds: float = 0.0) -> Fault:
    return Fault(after_seconds=after, what=what, whom=whom, seconds=seconds)


def require_clean(found: Found) -> None:
    assert found.clean, found
    assert found.outcomes.get("done", 0) >= 5 - len(found.stopped_for_nothing)
    assert found.take_over_seconds is None or found.take_over_seconds < 30


def test_what_a_killed_agent_began_is_finished_by_another(harness: AgentHarness) -> None:
    found = harness.run(Schedule(number=1, faults=(fault("kill", seconds=3600.0, after=0.25),)))
    require_clean(found)
    assert found.leaders >= 2
    assert set(found.hands_of) - {"one"}, "another had hands on what was left"


def test_one_that_stood_still_past_its_lease_does_nothing_more_and_hosts_clocks_play_no_part(
    harness: AgentHarness,
) -> None:
    stopped = fault("stop", seconds=2.5 * LEASE_SECONDS)
    found = harness.run(Schedule(number=2, faults=(stopped,), clocks_off=(1, -1, 0)))
    require_clean(found)
    assert found.leaders >= 2


def test_one_whose_network_swallows_everything_is_followed_and_a_restart_ends_nothing(harness: AgentHarness) -> None:
    silent = fault("silence", seconds=2.5 * LEASE_SECONDS)
    restart, ended = fault("restart", "database", after=1.6), fault("end sessions", "database", after=2.0)
    require_clean(harness.run(Schedule(number=3, faults=(silent, restart, ended))))


def test_it_hands_over_before_its_own_node_is_emptied(harness: AgentHarness) -> None:
    found = harness.run(Schedule(number=4, faults=()), runs_on=("a", "a", "b"))
    require_clean(found)
    assert found.hands_of == ["three"]


def test_a_schedule_that_is_drawn_is_the_same_each_time() -> None:
    assert drawn(1, 7) == drawn(1, 7) != drawn(2, 7)
