"""What owners' notes on their guests may come to when a model reads them: nothing, or more care. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from models.fleet import Fleet
from models.knowledge import NoteWord, VmNote

CAREFUL = (
    NoteWord.MUST_NOT_STOP,
    NoteWord.MONTH_END,
    NoteWord.LONG_JOB,
    NoteWord.SOLE_COPY,
    NoteWord.PAUSE_SENSITIVE,
    NoteWord.UNCLEAR,
)
"""The words a reader may use. Those that would allow more, or lift a guest above others, a person says in a label, which policy
gives its rights."""
NOTHING = "nothing"
"""what it says of a note that asks for no care"""


def with_notes_heeded(fleet: Fleet, notes: Iterable[VmNote]) -> Fleet:
    """The fleet without consent to a cold archive for guests of which a note says anything; the same object where none does.

    A note can take that away and nothing else: it stops no move of another guest, and none that keeps its own alive.
    """
    spoken = {note.vm for note in notes if note.word in CAREFUL}
    vms = tuple(
        vm.model_copy(update={"cold_archive_allowed": False})
        if vm.uuid in spoken and vm.cold_archive_allowed is not False
        else vm
        for vm in fleet.vms
    )
    return fleet if vms == fleet.vms else fleet.model_copy(update={"vms": vms})
