"""Figures and names as a person reads them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.text import (
    bytes_in_words,
    listed,
    percent,
    seconds_in_words,
    visible,
    visible_lines,
    without_credentials,
    without_sent,
)


@settings(deadline=None)
@given(st.text(), st.integers(1, 300))
def test_visible_is_one_short_line_of_characters_that_show(text: str, limit: int) -> None:
    shown = visible(text, limit)
    assert len(shown) <= limit
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web-1", "web-1"),
        ("büro-データ", "büro-データ"),
        ("a\u202eb", "a\\u202eb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("two\nlines", "two lines"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("probability", "shown"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.0004, "< 0.1 %"), (0.9996, "> 99.9 %"), (0.93, "93 %"), (0.004, "0.4 %")],
)
def test_percent(probability: float, shown: str) -> None:
    assert percent(probability) == shown


@given(st.floats(0, 1))
def test_percent_never_rounds_to_certainty(probability: float) -> None:
    assert (percent(probability) in ("0 %", "100 %")) == (probability in (0.0, 1.0))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"), (0.168, "168 ms"), (1, "1 s"), (4.24, "4.2 s"), (41.2, "41 s"), (59.7, "1 min"), (200, "3 min 20 s"),
        (7500, "2 h 5 min"), (86_400, "1 d"), (-3, "-3 s"),
    ],
)  # fmt: skip
def test_seconds_in_words(seconds: float, shown: str) -> None:
    assert seconds_in_words(seconds) == shown


def test_bytes_in_words() -> None:
    assert [bytes_in_words(n) for n in (0, 512, 1536, 16 << 30)] == ["0 B", "512 B", "1.5 KiB", "16 GiB"]


def test_listed() -> None:
    assert [listed(list("abcdef"[:n])) for n in (0, 1, 2, 4, 6)] == [
        "",
        "a",
        "a and b",
        "a, b, c and d",
        "a, b, c and 3 more",
    ]


def test_a_line_with_much_that_does_not_show_keeps_its_end() -> None:
    assert visible_lines("\x06" * 50 + " [bad-input]").endswith(" [bad-input]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ana:s3cr3t@host/path", "https://…@host/path"),
        ("s3://key:with/a+slash@bucket/x is away", "s3://…@bucket/x is away"),
        ("http://host:9090/api/v1 is away", "http://host:9090/api/v1 is away"),
        ("https://host/x?token=abc&a=1", "https://host/x?token=…&a=1"),
        ("{'Authorization': 'Basic bGlmZWJvYXQ6c2VjcmV0'}", "{'Authorization': 'Basic …'}"),
        ("Incorrect header Authorization: Bearer sk-0123456789abcdef.", "Incorrect header Authorization: Bearer …"),
        ('{"X-Api-Key": "0123456789"}', '{"X-Api-Key": "…"}'),
        ("basic authentication is off; the password: no", "basic authentication is off; the password: no"),
        ("slack.signing_secret_file /etc/x can't be read", "slack.signing_secret_file /etc/x can't be read"),
    ],
)
def test_credentials_are_cut_out_and_nothing_else(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


def test_what_was_sent_is_not_said_back() -> None:
    sent = {"X-Tenant": "Zq81hhTk", "Accept": "application/json", "Authorization": b"Bearer short7"}
    said = "refused: Zq81hhTk, application/json, short7"
    assert without_sent(said, sent) == "refused: …, application/json, …"
