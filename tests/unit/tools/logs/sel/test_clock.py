"""A BMC's clock is set, lost and follows summer time; the order of its records does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tools.logs.sel.clock import date_records

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
YEARS = timedelta(days=27 * 365)


def test_dates_that_can_be_are_believed() -> None:
    stamps = [NOW - 3 * HOUR, NOW - HOUR, NOW - MINUTE]
    dated = date_records(stamps, now=NOW)
    assert list(dated.times) == stamps
    assert dated.doubts() == []


def test_a_record_from_the_future_was_written_by_now() -> None:
    for ahead in (HOUR, YEARS):
        dated = date_records([NOW - HOUR, NOW + ahead], now=NOW)
        assert dated.times == (NOW - HOUR, NOW)
        assert "1 record dated in the future" in dated.doubts()[0]


def test_what_followed_a_record_from_the_future_bounds_it() -> None:
    dated = date_records([NOW - 3 * HOUR, NOW + YEARS, NOW - HOUR], now=NOW)
    assert dated.times == (NOW - 3 * HOUR, NOW - HOUR, NOW - HOUR)


def test_a_lost_clock_starts_years_ago_and_its_records_are_new() -> None:
    dated = date_records([NOW - HOUR, datetime(1999, 1, 1, tzinfo=UTC)], now=NOW)
    assert dated.times[1] == NOW
    assert "lost or set back" in dated.doubts()[0]


def test_a_clock_that_was_never_set_leaves_the_records_as_far_apart_as_they_were() -> None:
    start = datetime(2000, 1, 1, tzinfo=UTC)
    dated = date_records([start, start + 2 * HOUR, start + 2 * HOUR + MINUTE], now=NOW)
    assert dated.times == (NOW - 2 * HOUR - MINUTE, NOW - MINUTE, NOW)
    assert "3 records" in dated.doubts()[0]
    then_set = date_records([start, start + MINUTE, NOW - HOUR], now=NOW)
    assert then_set.times == (NOW - HOUR - MINUTE, NOW - HOUR, NOW - HOUR)


def test_a_known_error_of_the_clock_corrects_what_was_written_since() -> None:
    dated = date_records([NOW - 3 * HOUR, NOW - 10 * MINUTE + YEARS], now=NOW, clock_off=-YEARS)
    assert dated.times == (NOW - 3 * HOUR, NOW - 10 * MINUTE), "and leaves what was written before alone"


def test_records_without_a_date_were_written_before_the_next_one_with_one() -> None:
    dated = date_records([NOW - 3 * HOUR, None, None, NOW - HOUR, None], now=NOW)
    assert dated.times == (NOW - 3 * HOUR, NOW - HOUR, NOW - HOUR, NOW - HOUR, NOW)
    assert "3 records without a date" in dated.doubts()[0]
