"""`lifeboat audit`: whatever is done to the log behind lifeboat's back is found and named, also in an exported file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from scenes.approvals import ALONE, NOON, ask_about, at
from scenes.command_line import lifeboat, work_in

from agent.approve.proposals import answer
from models.proposals.states import EventKind
from tools.journal.sqlite import SqliteJournal


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An exported log of two questions, one of them answered."""
    work_in(tmp_path, monkeypatch, settings=f"state_dir: {tmp_path}\n")
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    ask_about(journal, ALONE)
    answer(journal, "evac-1", EventKind.REJECT, by="terminal:ana", policy=ALONE, clock=at(NOON), why="not \x1b[31m now")
    ask_about(journal, ALONE, name="evac-2")
    journal.close()
    assert lifeboat("audit", "export", "-o", "log.jsonl")[0] == 0
    return tmp_path / "log.jsonl"


def verified(*arguments: str) -> dict[str, object]:
    code, said = lifeboat("audit", "verify", "--json", *arguments)
    assert code == 0, said
    return json.loads(said)


def test_an_untouched_export_holds_and_has_the_journals_head(log: Path) -> None:
    assert verified(str(log)) == verified() == {"records": 5, "head": verified()["head"], "intact": True}


def test_a_head_that_was_noted_earlier_is_still_in_the_chain(log: Path) -> None:
    noted = json.loads(log.read_text().splitlines()[2])["sha256"]
    assert verified("--head", noted)["records"] == 5
    code, said = lifeboat("audit", "verify", "--head", "a" * 64)
    assert code == 1
    assert "records at the end are missing" in said


def flip(lines: list[str]) -> list[str]:
    return [*lines[:2], lines[2].replace("terminal:ana", "terminal:eve"), *lines[3:]]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip, "record 3 (approval-closed"),
        (lambda lines: [*lines[:1], *lines[2:]], "record 2"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "record 2"),
        (lambda lines: [*lines[:2], "{}", *lines[2:]], "line 3 is no entry"),
        (lambda lines: [*lines, lines[-1]], "record 6"),
    ],
    ids=["flip", "drop", "reorder", "insert", "repeat"],
)
def test_what_was_done_to_it_is_found_and_named(log: Path, damage: Callable[[list[str]], list[str]], said: str) -> None:
    log.write_text("\n".join(damage(log.read_text().splitlines())))
    code, line = lifeboat("audit", "verify", str(log))
    assert code == 1
    assert said in line


@pytest.mark.slow
def test_every_single_character_counts(log: Path) -> None:
    text = log.read_text()
    for place in range(7, len(text), max(1, len(text) // 60)):
        if text[place] in "\n":
            continue
        log.write_text(text[:place] + ("x" if text[place] != "x" else "y") + text[place + 1 :])
        assert lifeboat("audit", "verify", str(log))[0] == 1, place


def test_a_cut_off_end_is_found_with_a_head_from_elsewhere(log: Path) -> None:
    head = str(verified()["head"])
    log.write_text("\n".join(log.read_text().splitlines()[:-1]))
    assert verified(str(log))["records"] == 4
    code, said = lifeboat("audit", "verify", str(log), "--head", head)
    assert code == 1
    assert "missing" in said


def test_it_shows_who_decided_what_and_why(log: Path) -> None:
    code, said = lifeboat("audit", "show", "--evacuation", "evac-1", "--kind", "approval-closed")
    assert code == 0
    assert "kind=reject by=terminal:ana" in said
    assert "\x1b" not in said
    (one,) = json.loads(lifeboat("audit", "show", "--most", "1", "--json")[1])["records"]
    assert (one["kind"], one["evacuation"]) == ("approval-asked", "evac-2")


def test_a_file_that_is_not_there_is_bad_input(log: Path) -> None:
    assert lifeboat("audit", "verify", "no.jsonl")[0] == 2
    assert lifeboat("audit", "export", "-o", "no/such/place.jsonl")[0] == 2
