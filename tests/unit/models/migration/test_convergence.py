"""The detector: what a table of job statistics means, and which rung follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from models.migration.convergence import (
    JobProgress,
    LadderPosition,
    LadderStep,
    Rules,
    current_ratio,
    expected_left,
    last_round_limit,
    link_carries,
    next_step,
    stalled_for,
    start_position,
    stuck_for,
)
from models.policy.ladder import Act, Rung
from models.policy.policy import MigrationPolicy

MB = 1_000_000


def look(at: float, iteration: int, left: float, *, sent: float | None = None, **more: Any) -> JobProgress:
    """Sizes in MB. Bytes are sent at 10 MB/s unless told."""
    return JobProgress(
        elapsed_seconds=at,
        bytes_total=1000 * MB,
        bytes_processed=int((at * 10 if sent is None else sent) * MB),
        bytes_remaining=int(left * MB),
        dirty_bytes_per_second=more.pop("dirty", 0.0) * MB,
        bytes_per_second=more.pop("rate", 10.0) * MB,
        iteration=iteration,
        **more,
    )


def rules(ladder: Sequence[dict[str, Any]] | None = None, **policy: Any) -> Rules:
    given = policy | ({"ladder": ladder} if ladder is not None else {})
    return Rules.of(MigrationPolicy.model_validate(given))


STUCK = [look(0, 1, 1000), look(10, 2, 100), look(20, 3, 100), look(30, 4, 100)]
SHRINKING = [look(0, 1, 1000), look(10, 2, 100), look(20, 3, 50), look(30, 4, 25)]


@pytest.mark.parametrize(
    ("history", "seconds"),
    [
        ([], 0),
        ([look(0, 1, 1000), look(60, 1, 400)], 0),  # a long first round is progress
        (SHRINKING, 0),
        (STUCK, 20),  # since the last round that brought anything
        (STUCK[:3], 0),  # one round without progress may have met a burst
        ([*STUCK, look(35, 4, 50), look(39, 4, 10)], 29),  # within a round it falls; that is no progress
        ([look(0, 1, 1000), look(10, 2, 100), look(20, 3, 97), look(30, 4, 99)], 20),  # less than 4 %
        ([look(0, 1, 1000), look(10, 2, 100), look(20, 3, 95), look(30, 4, 91)], 0),
        ([*STUCK[:3], look(30, 4, 100, throttle=0.2)], 0),  # QEMU has just begun to slow the guest
        ([look(10, 1, 900, sent=100), look(20, 1, 900, sent=100), look(40, 1, 900, sent=100)], 30),  # nothing is sent
        ([look(10, 0, 1000, sent=0), look(40, 0, 1000, sent=0)], 0),  # not begun yet
    ],
)
def test_how_long_it_has_got_nowhere(history: list[JobProgress], seconds: float) -> None:
    assert stalled_for(history) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("history", "seconds"),
    [
        ([], 0),
        ([look(10, 1, 900, sent=100)], 0),
        ([look(10, 1, 900, sent=100), look(20, 1, 900, sent=100), look(40, 1, 900, sent=100)], 30),
        ([look(10, 1, 900, sent=100), look(20, 1, 800, sent=200), look(40, 1, 800, sent=200)], 20),
        ([look(10, 1, 900, sent=100), look(20, 1, 800, sent=200)], 0),
        ([look(5, 0, 1000, sent=0), look(70, 0, 1000, sent=0)], 65),  # it never began
        ([look(5, 1, 900, sent=100), look(70, 2, 900, sent=100)], 0),  # another round is progress
    ],
)
def test_for_how_long_nothing_was_sent(history: list[JobProgress], seconds: float) -> None:
    assert stuck_for(history) == seconds


def test_a_move_that_sends_nothing_is_aborted_whatever_the_ladder_says() -> None:
    without = rules([], timeout="15m", stuck_after="60s")
    silent = [look(5, 0, 1000, sent=0), look(64, 0, 1000, sent=0)]
    assert next_step(silent, LadderPosition(), without, elapsed=64).step is LadderStep.GO_ON
    silent.append(look(65, 0, 1000, sent=0))
    found = next_step(silent, LadderPosition(), without, elapsed=65)
    assert (found.step, found.reason) == (LadderStep.ABORT, "nothing was sent for 60 s: abort")
    assert next_step(silent, found.reached, without, elapsed=66).step is LadderStep.GO_ON, "told once"


def test_a_step_is_given_time_to_work() -> None:
    assert stalled_for(STUCK, since=25) == 5


DEFAULT = rules()


@pytest.mark.parametrize(
    ("history", "reached", "step", "downtime"),
    [
        ([], LadderPosition(3, 0, 0.2), LadderStep.GO_ON, 0.2),
        (SHRINKING, LadderPosition(3, 0, 0.2), LadderStep.GO_ON, 0.2),
        (STUCK, LadderPosition(3, 0, 0.2), LadderStep.RAISE_DOWNTIME, 0.3),
        (STUCK, LadderPosition(5, 0, 0.3), LadderStep.RAISE_DOWNTIME, 0.5),
        (STUCK, LadderPosition(5, 28, 0.3), LadderStep.GO_ON, 0.3),  # the step before was two seconds ago
        ([*STUCK, look(71, 8, 100, throttle=0.95)], LadderPosition(6, 60, 0.5), LadderStep.ABORT, 0.5),
        ([*STUCK, look(71, 8, 100)], LadderPosition(6, 60, 0.5), LadderStep.GO_ON, 0.5),
        ([*STUCK, look(121, 12, 100)], LadderPosition(6, 60, 0.5), LadderStep.ABORT, 0.5),
    ],
)
def test_the_default_ladder(
    history: list[JobProgress], reached: LadderPosition, step: LadderStep, downtime: float
) -> None:
    found = next_step(history, reached, DEFAULT, elapsed=history[-1].elapsed_seconds if history else 0)
    assert (found.step, found.reached.downtime) == (step, downtime)


def test_a_reason_has_the_figures() -> None:
    assert (
        next_step(STUCK, LadderPosition(3, 0, 0.2), DEFAULT, elapsed=30).reason
        == "no progress for 20 s: downtime up to 300 ms"
    )


def test_post_copy_and_suspending_only_where_policy_allows() -> None:
    busy = [look(0, 1, 1000), look(10, 2, 100, dirty=10), look(20, 3, 100, dirty=10)]
    assert next_step(busy, LadderPosition(3, 0, 0.2), DEFAULT, elapsed=20).step is LadderStep.GO_ON
    found = next_step(busy, LadderPosition(3, 0, 0.2), rules(post_copy=True), elapsed=20)
    assert (found.step, found.reached.post_copy) == (LadderStep.POST_COPY, True)
    assert next_step(busy, found.reached, rules(post_copy=True), elapsed=10_000).step is LadderStep.GO_ON, "no way back"
    assert next_step(STUCK, LadderPosition(6, 0, 0.5), rules(suspend=True), elapsed=30).step is LadderStep.SUSPEND


def test_post_copy_is_off_where_one_page_would_stall_the_guest() -> None:
    policy = MigrationPolicy(post_copy=True)
    assert Rules.of(policy, post_copy_stall=0.29).post_copy
    assert not Rules.of(policy, post_copy_stall=0.96).post_copy


def test_at_the_timeout_it_ends_one_way_or_the_other() -> None:
    assert next_step(SHRINKING, LadderPosition(3, 0, 0.2), rules(timeout="30s"), elapsed=30).step is LadderStep.ABORT
    assert next_step([], LadderPosition(3, 0, 0.2), rules(timeout="30s"), elapsed=30).step is LadderStep.ABORT, (
        "blind as well"
    )
    assert (
        next_step(SHRINKING, LadderPosition(3), rules(timeout="30s", post_copy=True), elapsed=30).step
        is LadderStep.POST_COPY
    )


@pytest.mark.parametrize(
    ("when", "before", "after"),
    [
        ({"after": "20s"}, SHRINKING[:2], SHRINKING[:3]),
        ({"rounds": 2}, SHRINKING[:2], SHRINKING[:3]),
        ({"left": "10s"}, SHRINKING[:2], SHRINKING[:3]),
        ({"ratio": 0.5}, [look(10, 2, 100, dirty=4)], [look(10, 2, 100, dirty=5)]),
        ({"throttled": 0.5}, [look(10, 2, 100, throttle=0.4)], [look(10, 2, 100, throttle=0.5)]),
        ({"rounds": 1, "throttled": 0.5}, [look(10, 2, 100)], [look(10, 2, 100, throttle=0.5)]),
        ({"stalled": "15s"}, STUCK[:3], STUCK),
    ],
)
def test_each_condition(when: dict[str, Any], before: list[JobProgress], after: list[JobProgress]) -> None:
    ladder = rules([{"when": when, "do": "abort"}], timeout="30s" if "left" in when else "15m")
    for history, step in ((before, LadderStep.GO_ON), (after, LadderStep.ABORT)):
        assert next_step(history, LadderPosition(), ladder, elapsed=history[-1].elapsed_seconds).step is step


def test_a_rung_that_is_reached_passes_the_ones_below_for_good() -> None:
    ladder = rules(
        [
            {"when": {"stalled": "1h"}, "do": {"downtime": "200ms"}},
            {"when": {"rounds": 1}, "do": {"downtime": "250ms"}},
        ]
    )
    found = next_step(SHRINKING, LadderPosition(), ladder, elapsed=30)
    assert (found.reached.downtime, found.reached.position) == (0.25, 2)


def test_only_the_last_downtime_goes_past_the_cap() -> None:
    steps = [{"when": {"stalled": "1s"}, "do": {"downtime": f"{ms}ms"}} for ms in (400, 800)]
    found = next_step(STUCK, LadderPosition(downtime=0.2), rules(steps), elapsed=30)
    assert found.reached.downtime == 0.3
    assert next_step(STUCK, LadderPosition(1, 0, 0.3), rules(steps), elapsed=30).reached.downtime == 0.5


@pytest.mark.parametrize(
    ("policy", "most"),
    [
        ({}, 0.5),
        ({"max_downtime": "100ms"}, 0.1),  # who lowers the cap lowers it for every step
        ({"max_downtime": "2s"}, 2.0),
        ({"max_downtime": "100ms", "last_downtime": "400ms"}, 0.4),
        ({"max_downtime": "600ms", "last_downtime": "400ms"}, 0.6),
        ({"last_downtime": "5s"}, 5.0),
    ],
)
def test_how_far_the_last_downtime_step_goes(policy: dict[str, str], most: float) -> None:
    steps = [{"when": {"stalled": "1s"}, "do": {"downtime": "10s"}}]
    found = next_step(STUCK, LadderPosition(downtime=0.01), rules(steps, **policy), elapsed=30)
    assert found.reached.downtime == most


def test_the_beginning() -> None:
    quiet, busy, unknown = start_position(DEFAULT, 0.01), start_position(DEFAULT, 1.2), start_position(DEFAULT, None)
    assert quiet.reached == busy.reached == unknown.reached == LadderPosition(position=3, downtime=0.2)
    assert [start.auto_converge for start in (quiet, busy, unknown)] == [False, True, True]
    assert [start.throttle_io for start in (quiet, busy, unknown)] == [None, 20 * MB, None]
    assert not start_position(rules(auto_converge=False), 1.2).auto_converge
    assert start_position(rules([]), None).reached.downtime == 0.3, "without a ladder the cap is the limit"


def test_averages() -> None:
    assert current_ratio([look(0, 1, 1000, dirty=9)]) is None, "nothing is counted before the first round is over"
    assert current_ratio([look(0, 2, 10, dirty=5), look(1, 2, 9, dirty=10)]) == pytest.approx(0.7)
    assert expected_left([look(0, 1, 1000)]) == 100
    assert expected_left([look(0, 2, 100, dirty=5)]) == 20
    assert expected_left([look(0, 2, 100, dirty=10)]) is None
    assert expected_left([look(0, 2, 100, dirty=10, post_copy=True)]) == 10
    assert link_carries(STUCK)
    assert not link_carries([*STUCK, look(31, 4, 100, sent=300)])
    assert not link_carries([])


def test_qemus_limit_leaves_room_for_switching_over() -> None:
    assert last_round_limit(0.3, 0.1) == pytest.approx(0.2)
    assert last_round_limit(0.05, 0.1) == pytest.approx(0.005)


@pytest.mark.parametrize(
    "rung",
    [
        {"when": {}, "do": "abort"},
        {"when": {"stalled": None}, "do": "abort"},
        {"when": {"stalled": "5s"}, "do": "auto_converge"},
        {"when": {"after": "10s"}, "do": {"throttle_io": 1_000_000}},
        {"when": {"stalled": "5s"}, "do": "fly"},
        {"when": {"stalled": "5s"}, "do": {"downtime": "0s"}},
        {"when": {"stale": "5s"}, "do": "abort"},
    ],
)
def test_a_rung_that_can_not_be_is_bad_input(rung: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MigrationPolicy.model_validate({"ladder": [rung]})


def test_a_rung_reads_back_as_written() -> None:
    for rung in MigrationPolicy().ladder:
        assert Rung.model_validate_json(rung.model_dump_json()) == rung
    assert Rung.model_validate({"when": {"ratio": 1}, "do": "suspend"}).do is Act.SUSPEND


@pytest.mark.parametrize(
    "policy",
    [{"compression": "zstd"}, {"compression": "zlib"}, {"compression": "xbzrle", "parallel_connections": 2}],
)
def test_compression_must_fit_the_streams(policy: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="parallel_connections"):
        MigrationPolicy.model_validate(policy)
