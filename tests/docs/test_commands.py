"""The command line has every command and option that the documents show."""

from __future__ import annotations

import pytest
from scenes.doc_commands import blocks, commands, inline_commands, unknown_in, whole_command, why_refused


def test_each_command_in_a_block_is_taken_as_it_stands() -> None:
    shown = [command for block in blocks() for command in commands(block)]
    assert len(shown) > 50
    refused = {f"{each.block}: {' '.join(each.words)}": why_refused(each.words) for each in shown}
    assert {command: why for command, why in refused.items() if why is not None} == {}


def test_each_command_named_in_a_sentence_is_there() -> None:
    wrong = [(page, " ".join(words), unknown_in(words)) for page, words in inline_commands() if unknown_in(words)]
    assert wrong == []


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("retrn", "node-a"), "retrn"),
        (("plan", "--fleeet", "f.json"), "--fleeet"),
        (("audit", "verfy"), "verfy"),
        (("approve",), "EVACUATION"),
    ],
)
def test_what_the_command_line_does_not_have_is_found(words: tuple[str, ...], wrong: str) -> None:
    why = why_refused(words)
    assert why is not None
    assert wrong in why


def test_few_blocks_are_only_read_and_each_says_why() -> None:
    not_run = {str(block): block.not_run for block in blocks() if block.not_run is not None}
    assert len(not_run) <= 9, not_run
    assert all(len(why) > 15 for why in not_run.values())


def test_each_command_is_told_in_the_documents() -> None:
    told = {each.words[:1] for block in blocks() for each in commands(block)} | {
        tuple(w[:1]) for _, w in inline_commands()
    }
    assert {name for name in whole_command().commands if (name,) not in told} == set()
