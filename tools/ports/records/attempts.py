"""One attempt: its intent, how it ended, and what every kind of move writes in between."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, Field

from models.evacuation import Attempt
from models.plan import Action, ActionKind
from tools.ports.journal import Record, Timed
from tools.ports.vms import VmObservation

_NOT_FOR_RECOVERY = {"checkpoints", "on_poweroff", "only_read"}


class AttemptIntended(Record):
    """On disk before the first side effect, with all that recovery needs to judge what it finds."""

    KIND = "intent"
    action: Action
    initial: VmObservation = Field(validation_alias=AliasChoices("before", "initial"), serialization_alias="before")
    """the vm as found at the source, before anything was done"""

    def data(self) -> dict[str, Any]:
        """Without what only decides whether to begin: recovery needs none of it, and older versions read the rest."""
        return self.model_dump(mode="json", by_alias=True, exclude={"initial": _NOT_FOR_RECOVERY})


class AttemptEnded(Record):
    """One try at one action came to its end."""

    KIND = "result"
    attempt: Attempt
    """with its outcome, as observed"""


class MoveRefused(Record):
    """A kind of move of a vm was refused for a reason that does not pass by itself: it is not planned again for a while."""

    KIND = "move-refused"
    vm: str
    """uuid"""
    move: ActionKind
    target: str | None
    """the node it holds for; None: for every node"""
    why: str
    incarnation: str
    """of the vm when it was refused, as `Vm.incarnation`"""


class RecoveryBegun(Record):
    """Its intent was found without a result: it is ended now, by looking."""

    KIND = "recovering"
    why: str


class SourceUndefineIntended(Record):
    """The source is to let go of its definition; the vm was observed elsewhere, or its archive verified."""

    KIND = "undefine-source"
    why: str
    """what was observed"""


class ShutdownIntended(Timed):
    """The guest is to be asked to stop. From here on it may stop at any time."""

    KIND = "shut-down"


class ShutdownOutstanding(Timed):
    """It was asked to stop, did not in the time that policy gives, and was left running: it may still stop, and is started
    again then."""

    KIND = "shut-down-outstanding"
    node: str
    vm: str
    """uuid"""


class ShutdownSettled(Record):
    """What became of a guest that was asked to stop and left running."""

    KIND = "shut-down-settled"
    how: str


class PowerOffIntended(Record):
    """Its plug is to be pulled: it did not stop in the time that policy gives."""

    KIND = "power-off"


class RestartIntended(Record):
    """It is to be started again where it was stopped."""

    KIND = "start-again"
    node: str
    because: str
    """what went wrong with the move"""


class AutostartHeld(Record):
    """The source's libvirt is to start the vm by itself no more: after the move that would be a second copy."""

    KIND = "autostart-held"
    node: str


class AutostartGiven(Record):
    """Where the vm lives now, it is to start by itself again, as its owner had it."""

    KIND = "autostart-given"
    node: str


class OnPoweroffHeld(Record):
    """The running guest is to stay off when it powers itself off, whatever its definition says: it is about to be stopped."""

    KIND = "on-poweroff-held"
    node: str
    action: str
    """what libvirt did in that case until now, in its own words"""


class OnPoweroffGiven(Record):
    """The guest runs on where it was: what libvirt does when it powers itself off is to be as before."""

    KIND = "on-poweroff-given"
    node: str


class CheckpointsKept(Record):
    """What the source's libvirt knows of the vm's checkpoints: no move takes it along, so it is told to the target."""

    KIND = "checkpoints-kept"
    checkpoints: tuple[str, ...]
    """libvirt's XML of each, parents first"""


class CheckpointsGiven(Record):
    """Where the vm lives now, its checkpoints are to be known again."""

    KIND = "checkpoints-given"
    node: str


class TagLeft(Record):
    """The attempt's tag could not be removed from the vm's metadata; tried again at the next start."""

    KIND = "stamp-left"
    node: str
    vm: str
    """uuid"""
    error: str


class TagRemoved(Record):
    """What `TagLeft` left is gone."""

    KIND = "stamp-removed"
    node: str
    vm: str
    """uuid"""
    how: str
    """`removed`, or `it was gone`"""
    path: str = ""
    """always empty"""
