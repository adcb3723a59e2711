"""The readers of what outsiders write: owners' notes, and log lines that no pattern names. Free text in, one closed word out.

They have no tools, plan nothing, and see one text at a time (`agent.llm.text_reader`). What they say only makes a plan more
careful.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

import httpx2

from agent.llm.record import LlmDirectory
from agent.llm.text_reader import Sorting, TextReader
from agent.settings import LlmSettings
from models.fleet import Fleet
from models.knowledge import NoteWord, VmNote
from models.notes import CAREFUL, NOTHING, with_notes_heeded
from models.risk.risk import Risk
from models.risk.signal import Component, HardwareEvent, HardwareEventKind, Severity
from models.text import counted

PROMPT = "read_note.v1"
WORDS = (*(word.value for word in CAREFUL), NOTHING)
LINE_PROMPT = "read_log_line.v1"
HARMLESS, UNCLEAR = "harmless", "unclear"
LINE_WORDS = (*(component.value for component in Component), HARMLESS, UNCLEAR)


@dataclass(kw_only=True)
class _Reader:
    """Asks a language model about each text of one sort."""

    sorting: ClassVar[Sorting]
    llm: LlmSettings
    directory: LlmDirectory
    transport: httpx2.BaseTransport | None = None
    """stands in for the network"""
    _texts: TextReader = field(init=False)

    def __post_init__(self) -> None:
        self._texts = TextReader(llm=self.llm, directory=self.directory, sorting=self.sorting, transport=self.transport)

    @property
    def problem(self) -> str:
        """Why the newest text was not read; empty when it was."""
        return self._texts.problem


class NoteReader(_Reader):
    """Brings owners' notes to words. A note that was not read yet counts as unclear, which is a careful word."""

    sorting = Sorting(prompt=PROMPT, field="note", words=WORDS, unclear=NoteWord.UNCLEAR.value)

    def notes(self, fleet: Fleet, *, patience_seconds: float = 0.0) -> tuple[VmNote, ...]:
        """What the notes of these guests come to, as far as they were read: a note that was not is unclear, and is read
        meanwhile. Waits for that at most so long."""
        texts = {vm.uuid: vm.note for vm in fleet.vms if vm.note}
        read = self._texts.words(set(texts.values()), patience_seconds=patience_seconds)
        words = {vm: read.get(text, NoteWord.UNCLEAR.value) for vm, text in texts.items()}
        return tuple(VmNote(vm=vm, word=NoteWord(word)) for vm, word in words.items() if word != NOTHING)

    def heeded(self, fleet: Fleet, *, patience_seconds: float = 0.0) -> Fleet:
        """The fleet as these notes leave it (`models.notes`)."""
        return with_notes_heeded(fleet, self.notes(fleet, patience_seconds=patience_seconds))


class LogLineReader(_Reader):
    """Brings log lines that no pattern names to the part of a node that they are about. A line without a word says nothing."""

    sorting = Sorting(prompt=LINE_PROMPT, field="line", words=LINE_WORDS, unclear=UNCLEAR)

    def troubles(
        self, lines: Mapping[str, Sequence[str]], *, patience_seconds: float = 0.0
    ) -> Mapping[str, Mapping[Component, int]]:
        """Node → which parts its lines (kinds of them, by node) tell trouble of, and how many kinds do."""
        texts = {line for mine in lines.values() for line in mine}
        read = self._texts.words(texts, patience_seconds=patience_seconds)
        parts = {component.value: component for component in Component}
        told = {
            node: Counter(parts[read[line]] for line in mine if read.get(line) in parts) for node, mine in lines.items()
        }
        return {node: counts for node, counts in told.items() if counts}


def as_events(troubles: Mapping[str, Mapping[Component, int]], now: datetime) -> tuple[HardwareEvent, ...]:
    """The same for the planning model: warnings of no known kind. They are in no risk and move nothing."""
    return tuple(
        HardwareEvent(node=node, time=now, kind=HardwareEventKind.OTHER, component=part, severity=Severity.WARNING)
        for node, counts in troubles.items()
        for part in counts
    )


def with_troubles_told(risks: Sequence[Risk], troubles: Mapping[str, Mapping[Component, int]]) -> list[Risk]:
    """The same for people: among what is unknown of each node. No figure changes."""
    return [
        risk.model_copy(update={"unknown": (*risk.unknown, *map(_told, troubles.get(risk.node, {}).items()))})
        for risk in risks
    ]


def _told(trouble: tuple[Component, int]) -> str:
    part, count = trouble
    return f"log files: {counted(count, 'kind')} of line that no pattern names, read as trouble of {part} by a language model"
