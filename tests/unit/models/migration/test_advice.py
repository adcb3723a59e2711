"""A dirty rate measured right before a move: what is advised, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.fleet import Priority, Vm, VmState
from models.migration.advice import Advice, MeasuredRate, advise, worth_probing
from models.policy.policy import Policy

GIB, LINK = 1 << 30, 125e6
NOW = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)


def vm(rate: float | None = 0.0, **more: Any) -> Vm:
    return Vm(uuid="u", name="v", node="a", memory_bytes=8 * GIB, dirty_bytes_per_second=rate, **more)


def policy(**migration: Any) -> Policy:
    return Policy.model_validate({"migration": migration})


@pytest.mark.parametrize(
    ("rate", "advice"),
    [(1e6, Advice.GO), (30e6, Advice.GO), (60e6, Advice.THROTTLE), (300e6, Advice.REFUSE)],
)
def test_by_rate(rate: float, advice: Advice) -> None:
    found = advise(vm(rate), LINK, policy(timeout="20m"), now=NOW)
    assert found.advice is advice
    assert found.goes is (advice in (Advice.GO, Advice.THROTTLE))
    assert f"{rate / 1e6:.1f} MB/s" in found.reason


def test_a_paused_guest_always_goes() -> None:
    assert advise(vm(1e9, state=VmState.PAUSED), LINK, Policy(), now=NOW).advice is Advice.GO


def test_what_would_take_longer_than_the_timeout_or_pause_longer_than_the_cap_is_refused_with_the_figures() -> None:
    late = advise(vm(1e6), LINK, policy(timeout="30s"), now=NOW)
    assert (late.advice, "the timeout is 30 s" in late.reason) == (Advice.REFUSE, True)
    assert "would not come to its end" in advise(vm(1e9), LINK, Policy(), now=NOW).reason


def test_consent_to_an_archive_is_said_only_where_policy_would_archive_it() -> None:
    low = vm(1e9, priority=Priority.LOW, cold_archive_allowed=True)
    assert advise(low, LINK, Policy(), now=NOW).advice is Advice.ARCHIVE
    high = vm(1e9, priority=Priority.HIGH, cold_archive_allowed=True)
    assert advise(high, LINK, Policy(), now=NOW).advice is Advice.REFUSE


def rates(*at: tuple[float, float]) -> list[MeasuredRate]:
    """(hours ago, bytes per second)"""
    return [MeasuredRate(NOW - timedelta(hours=hours), rate) for hours, rate in at]


@pytest.mark.parametrize(
    ("history", "until_hours"),
    [
        ([], None),
        (rates((11.5, 1e6)), 12.5),  # at 03:00 it was quiet; the next 03:00
        (rates((11.5, 1e9)), None),
        (rates((11.5, 1e6), (35.5, 1e9)), 12.5),  # the newest of one hour of the day counts
        (rates((11.5, 1e9), (35.5, 1e6)), None),
        (rates((11.5, 1e6), (20, 1e6)), 4),  # the nearest
        (rates((200, 1e6)), None),  # more than a week ago
    ],
)
def test_waiting_is_advised_with_the_time(history: list[MeasuredRate], until_hours: float | None) -> None:
    found = advise(vm(1e9), LINK, Policy(), now=NOW, history=history)
    if until_hours is None:
        assert found.advice is Advice.REFUSE
    else:
        assert (found.advice, found.until) == (Advice.WAIT, NOW + timedelta(hours=until_hours))
        assert "1.0 MB/s" in found.reason


@pytest.mark.parametrize(
    ("link", "given", "risk", "worth"),
    [
        (LINK, {}, None, True),
        (LINK * 10, {}, None, False),  # 7 s for all of it: a second is too dear
        (LINK, {"dirty_probe": "0s"}, None, False),
        (LINK, {"dirty_probe": "10s"}, None, False),
        (LINK, {}, 0.19, True),
        (LINK, {}, 0.5, False),  # no second to lose
    ],
)
def test_a_probe_must_be_worth_its_time(link: float, given: dict[str, Any], risk: float | None, worth: bool) -> None:
    assert worth_probing(vm(), link, policy(**given), risk=risk) is worth
