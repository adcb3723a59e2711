"""Layouts of log lines: the same message is the same event, however it was collected."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tools.logs.lines import Reference, is_same_host, split

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
AT = datetime(2026, 11, 20, 11, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-20T11:50:00.000000+00:00 node-a kernel: [1.0] hello",
        "2026-11-20T12:50:00+0100 node-a kernel: [1.0] hello",
        "2026-11-20 11:50:00 node-a kernel: [1.0] hello",
        "Nov 20 11:50:00 node-a kernel: [1.0] hello",
        "<4>Nov 20 11:50:00 node-a kernel: [1.0] hello",
        "Nov 20 2026 11:50:00 node-a kernel: [1.0] hello",
        "Nov 20 11:50:00.000123 node-a kernel: [1.0] hello",
        "<4>1 2026-11-20T11:50:00.000Z node-a kernel - - - [1.0] hello",
        '<4>1 2026-11-20T11:50:00Z node-a kernel - - [origin ip="10.0.0.1"] [1.0] hello',
        '{"__REALTIME_TIMESTAMP":"1795175400000000","_HOSTNAME":"node-a","_TRANSPORT":"kernel","MESSAGE":"[1.0] hello"}',
    ],
)
def test_known_layouts_say_the_same(line: str) -> None:
    found = split(line, Reference(NOW))
    assert found is not None
    assert (found.at.replace(microsecond=0), found.host, found.tag, found.message) == (
        AT,
        "node-a",
        "kernel",
        "[1.0] hello",
    )


def test_dmesg_with_dates_has_no_host() -> None:
    found = split("[Fri Nov 20 11:50:00 2026] hello", Reference(NOW))
    assert found is not None
    assert (found.at, found.host, found.tag, found.message) == (AT, "", "kernel", "hello")


def test_a_time_without_a_year_is_in_the_past() -> None:
    found = split("Dec 31 23:59:59 node-a kernel: hello", Reference(NOW))
    assert found is not None
    assert found.at.year == 2025
    leap = split("Feb 29 10:00:00 node-a kernel: hello", Reference(NOW))
    assert leap is not None
    assert leap.at.year == 2024


def test_a_time_without_a_zone_is_read_in_the_one_given() -> None:
    found = split("Nov 20 12:50:00 node-a kernel: hello", Reference(NOW, ZoneInfo("Europe/Berlin")))
    assert found is not None
    assert found.at == AT


@pytest.mark.parametrize(
    "line", ["", "[ 12.3] hello", "Nov 99 11:50:00 a kernel: x", "{not json", "[]", "29/11 04:00 a kernel: x"]
)
def test_what_has_no_time_that_can_be_read_is_none(line: str) -> None:
    assert split(line, Reference(NOW)) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("node-a", "node-a", True),
        ("node-a", "node-a.example.org", True),
        ("node-a.example.org", "node-a", True),
        ("NODE-A", "node-a", True),
        ("node-a.example.org", "node-a.example.net", False),
        ("node-a", "node-b", False),
        ("node-a", "node-ab", False),
    ],
)
def test_short_names_and_full_ones_are_one_host(one: str, other: str, same: bool) -> None:
    assert is_same_host(one, other) is same
