"""Pinned certificates: what is recorded, what is never overwritten, and what stops a move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.journal import Journal
from agent.pins import Pins, PinState
from models.errors import BadInput, IdentityUnproven
from models.policy import PinRule
from tools.clock import VirtualClock

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def pins(tmp_path: Path, journal: Journal) -> Pins:
    return Pins(tmp_path / "pins.json", journal, VirtualClock())


def test_a_pin_is_kept_and_every_change_is_in_the_audit_log(pins: Pins, journal: Journal):
    assert pins.pin("node-b", ONE, by="doctor") is PinState.NEW
    assert pins.pin("node-b", ONE, by="doctor") is PinState.SAME
    assert pins.pin("node-b", OTHER, by="doctor") is PinState.CHANGED
    assert pins.known()["node-b"].sha256 == ONE, "another one never replaces it by itself"
    assert pins.pin("node-b", OTHER, by="doctor", replace=True) is PinState.REPLACED
    assert pins.known()["node-b"].sha256 == OTHER
    assert [(record.data["before"], record.data["sha256"]) for record in journal.records()] == [
        (None, ONE),
        (ONE, OTHER),
    ]
    assert journal.verify() == 2


@pytest.mark.parametrize(
    ("rule", "pinned", "shown", "stopped"),
    [
        (PinRule.REQUIRED, None, ONE, "no certificate is pinned"),
        (PinRule.REQUIRED, ONE, ONE, None),
        (PinRule.REQUIRED, ONE, OTHER, "it shows certificate 2222222222222222…, pinned since"),
        (PinRule.FIRST_USE, None, ONE, None),
        (PinRule.FIRST_USE, ONE, ONE, None),
        (PinRule.FIRST_USE, ONE, OTHER, "--repin node-b"),
        (PinRule.OFF, ONE, OTHER, None),
    ],
)
def test_what_each_rule_stops(pins: Pins, rule: PinRule, pinned: str | None, shown: str, stopped: str | None):
    if pinned is not None:
        pins.pin("node-b", pinned, by="doctor")
    check = pins.checker(rule)
    if stopped is None:
        if check is not None:
            check("node-b", shown)
        return
    assert check is not None
    with pytest.raises(IdentityUnproven) as caught:
        check("node-b", shown)
    assert stopped in str(caught.value)
    assert (pins.known()["node-b"].sha256 if pinned else None) == pinned


def test_the_first_use_is_pinned_and_the_second_is_held_to_it(pins: Pins):
    check = pins.checker(PinRule.FIRST_USE)
    assert check is not None
    check("node-b", ONE)
    assert pins.known()["node-b"].by == "first-use"
    with pytest.raises(IdentityUnproven):
        check("node-b", OTHER)
    check("node-c", OTHER)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pins": {"node-b": {"sha256": "short"}}}', '{"version": 2}'])
def test_a_damaged_file_is_not_an_empty_one(pins: Pins, tmp_path: Path, content: str):
    (tmp_path / "pins.json").write_text(content)
    check = pins.checker(PinRule.FIRST_USE)
    assert check is not None
    with pytest.raises(BadInput, match=r"pins\.json can't be used"):
        check("node-b", ONE)
    assert (tmp_path / "pins.json").read_text() == content
