"""Whatever the ladder and the guest: it only goes up, what policy forbids is not done, and there is an end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.migration.convergence import (
    JobProgress,
    LadderPosition,
    LadderStep,
    Rules,
    last_round_limit,
    next_step,
    start_position,
)
from models.policy.ladder import Rung
from models.policy.policy import MigrationPolicy
from tools.ports.migration import MigrationOptions
from tools.simulated.migration import SWITCH_SECONDS, Migration

seconds = st.sampled_from(["0s", "1s", "5s", "20s", "1m"])
whens = st.fixed_dictionaries(
    {},
    optional={
        "ratio": st.floats(0, 3),
        "stalled": seconds,
        "after": seconds,
        "rounds": st.integers(1, 6),
        "throttled": st.floats(0.1, 1),
        "left": seconds,
    },
).filter(bool)
acts = st.sampled_from(["post_copy", "suspend", "abort"]) | st.sampled_from(["50ms", "200ms", "400ms", "900ms"]).map(
    lambda text: {"downtime": text}
)
in_flight = st.builds(lambda when, do: {"when": when, "do": do}, whens, acts)
at_start = st.builds(
    lambda ratio, do: {"when": {"ratio": ratio}, "do": do},
    st.floats(0, 2),
    st.sampled_from(["auto_converge", {"throttle_io": 1_000_000}]),
)
ladders = st.lists(in_flight | at_start, max_size=8)


@st.composite
def all_rules(draw: st.DrawFn) -> Rules:
    policy: dict[str, Any] = {
        "ladder": draw(ladders),
        "max_downtime": draw(st.sampled_from(["100ms", "300ms"])),
        "timeout": draw(st.sampled_from(["20s", "2m", "10m"])),
        **{name: draw(st.booleans()) for name in ("auto_converge", "post_copy", "suspend")},
    }
    return Rules.of(MigrationPolicy.model_validate(policy))


looks = st.builds(
    JobProgress,
    elapsed_seconds=st.floats(0, 700),
    bytes_total=st.just(1 << 30),
    bytes_processed=st.integers(0, 1 << 34),
    bytes_remaining=st.integers(0, 1 << 30),
    dirty_bytes_per_second=st.floats(0, 1e10),
    bytes_per_second=st.floats(0, 1e10),
    iteration=st.integers(0, 50),
    throttle=st.floats(0, 0.99),
)
histories = st.lists(looks, max_size=12).map(lambda each: sorted(each, key=lambda look: look.elapsed_seconds))
climbs = st.builds(
    LadderPosition,
    position=st.integers(0, 8),
    since=st.floats(0, 700),
    downtime=st.floats(0, 1),
    post_copy=st.booleans(),
    suspended=st.booleans(),
    abort_asked=st.booleans(),
)


@pytest.mark.slow
@settings(deadline=None)
@given(histories, climbs, all_rules(), st.floats(0, 700))
def test_one_decision(history: list[JobProgress], reached: LadderPosition, rules: Rules, elapsed: float) -> None:
    found = next_step(history, reached, rules, elapsed=elapsed)
    after = found.reached
    assert after.position >= reached.position
    assert after.downtime >= reached.downtime
    assert (after.post_copy, after.suspended, after.abort_asked) >= (
        reached.post_copy,
        reached.suspended,
        reached.abort_asked,
    )
    if found.step is LadderStep.POST_COPY:
        assert rules.post_copy
        assert after.post_copy
    if found.step is LadderStep.SUSPEND:
        assert rules.suspend
        assert not reached.suspended
    if found.step is LadderStep.RAISE_DOWNTIME:
        assert reached.downtime < after.downtime <= rules.last_downtime
    if reached.post_copy:
        assert found.step is LadderStep.GO_ON, "there is no way back"
    elif not reached.abort_asked and elapsed >= rules.timeout:
        assert found.step in (LadderStep.ABORT, LadderStep.POST_COPY)
    assert next_step(history, reached, rules, elapsed=elapsed) == found


@settings(max_examples=50, deadline=None)
@given(histories, all_rules())
def test_what_the_policy_forbids_changes_nothing_when_it_is_left_out(history: list[JobProgress], rules: Rules) -> None:
    allowed = tuple(rung for rung in rules.ladder if rules.allows(rung))
    elapsed = history[-1].elapsed_seconds if history else 0.0
    without = next_step(history, LadderPosition(), replace(rules, ladder=allowed), elapsed=elapsed)
    found = next_step(history, LadderPosition(), rules, elapsed=elapsed)
    assert (found.step, found.reached.downtime) == (without.step, without.reached.downtime)


@settings(max_examples=60, deadline=None)
@given(
    all_rules(),
    st.integers(16 << 20, 4 << 30),
    st.floats(0, 3e8),
    st.floats(1e6, 2e8),
    st.none() | st.floats(0, 5),
)
def test_a_whole_move_ends_by_its_timeout_within_its_caps(
    rules: Rules, memory: int, dirty: float, link: float, ratio: float | None
) -> None:
    start = start_position(rules, ratio)
    options = MigrationOptions(
        tls=True, max_downtime_seconds=last_round_limit(start.reached.downtime, SWITCH_SECONDS),
        timeout_seconds=rules.timeout, auto_converge=start.auto_converge, post_copy=rules.post_copy,
        parallel_connections=0, bandwidth_bytes_per_second=None, copy_disks=(),
    )  # fmt: skip
    job = Migration(
        uuid="u",
        source="a",
        target="b",
        options=options,
        started=0.0,
        memory_bytes=memory,
        disk_bytes=0,
        dirty_bytes_per_second=dirty,
        bytes_per_second=link,
    )
    reached, history, now = start.reached, list[JobProgress](), 0.0
    poll = max(0.5, rules.timeout / 60)
    while now < job.done_at:
        now += poll
        history.append(job.progress(now))
        found = next_step(history, reached, rules, elapsed=now)
        reached = found.reached
        if found.step is LadderStep.ABORT:
            break
        if found.step is LadderStep.RAISE_DOWNTIME:
            job.set_max_downtime(now, last_round_limit(reached.downtime, SWITCH_SECONDS))
        elif found.step is LadderStep.SUSPEND:
            job.suspend(now)
        elif found.step is LadderStep.POST_COPY and now < job.switchover_at:
            job.switch_to_post_copy(now)
        assert now <= rules.timeout + poll or reached.post_copy, (
            "past the timeout it goes on only where nothing can stop it"
        )
    if now >= job.done_at and not reached.suspended and not reached.post_copy:
        downtime = job.statistics().downtime_seconds
        assert downtime is not None
        page = 4096 / link  # QEMU sends at least one page
        assert downtime <= max(reached.downtime, SWITCH_SECONDS + reached.downtime / 10) + page + 1e-6


def test_the_default_ladder_is_within_its_own_words() -> None:
    for rung in MigrationPolicy().ladder:
        assert Rung.model_validate(rung.model_dump()) == rung
        assert rung.what
