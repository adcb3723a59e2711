"""How many may run at once: what admission lets in is what the guard passes."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from models.plan import Action, ActionKind
from models.planning.schedule import Limit, exceeded, may_join
from models.policy.policy import LimitPolicy

NODES = st.sampled_from("abcd")


def move(source: str, target: str | None) -> Action:
    kind = ActionKind.LIVE_MIGRATE if target else ActionKind.COLD_ARCHIVE
    return Action(kind=kind, vm="x", source=source, target=target)


def within_limits(wave: Sequence[Action], limits: LimitPolicy) -> bool:
    """As the guard sees it."""
    return all(exceeded(limit, [[wave]], limits) is None for limit in Limit)


def test_an_archive_takes_a_place_off_its_node() -> None:
    limits = LimitPolicy(outbound_per_node=2)
    running = [move("a", "b"), move("a", None)]
    assert not may_join(move("a", "c"), running, limits)
    assert may_join(move("d", "c"), running, limits)
    assert not within_limits([*running, move("a", "c")], limits)


@given(
    st.lists(st.tuples(NODES, st.none() | NODES), max_size=12),
    st.builds(LimitPolicy, **dict.fromkeys(("outbound_per_node", "inbound_per_node", "per_link", "per_fleet",
                                            "archives_per_node"), st.integers(1, 3))),
)  # fmt: skip
def test_whatever_is_let_in_one_by_one_keeps_every_limit_together(
    ways: list[tuple[str, str | None]], limits: LimitPolicy
) -> None:
    running: list[Action] = []
    for source, target in ways:
        one = move(source, target)
        fits = may_join(one, running, limits)
        assert fits == within_limits([*running, one], limits)
        running += [one] if fits else []
