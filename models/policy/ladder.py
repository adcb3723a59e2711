"""The convergence ladder: what is done, and when, for a live migration that does not come to its end by itself.

It is data, in `migration.ladder` of the policy: a list of `{when, do}`. `models.migration.convergence.decide` climbs it.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from models.base import Duration, Value, parse_duration


class When(Value):
    """When a rung is taken. Everything that is given must hold; at least one thing must be given."""

    ratio: float | None = Field(default=None, ge=0)
    """dirty rate over bandwidth is at least this. Before the start: as measured, with the planner's allowances (auto_converge
    is armed when nobody measured, throttle_io is not); during the migration: of the last rounds"""
    stalled: Duration | None = Field(default=None, ge=timedelta(0))
    """for at least this long, and two rounds, what is left at the start of a round did not fall by 4 %"""
    after: Duration | None = Field(default=None, ge=timedelta(0))
    """memory has been copied for this long; `0s`: from the start"""
    rounds: int | None = Field(default=None, ge=1)
    """this many rounds over the memory are over"""
    throttled: float | None = Field(default=None, gt=0, le=1)
    """auto-converge has taken at least this share of the guest's processor time"""
    left: Duration | None = Field(default=None, ge=timedelta(0))
    """no more than this is left until `migration.timeout`"""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set or all(value is None for _, value in self):
            raise ValueError("needs at least one of ratio, stalled, after, rounds, throttled, left")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}

    @property
    def before_start(self) -> bool:
        """Can be told before a byte is sent."""
        later = (self.stalled, self.rounds, self.throttled, self.left)
        return all(each is None for each in later) and not self.after


class DowntimeTo(Value):
    """Let the guest pause this long at switchover, the fixed cost of switching over included."""

    downtime: Duration = Field(gt=timedelta(0))


class ThrottleIo(Value):
    """Let each disk of the guest read and write no more than this until the move is over."""

    throttle_io: int = Field(gt=0)
    """bytes per second"""


class Act(StrEnum):
    """What a rung does that needs no figure."""

    AUTO_CONVERGE = "auto_converge"
    """QEMU slows the guest's processors, more and more, whenever two rounds brought too little"""
    POST_COPY = "post_copy"
    """the guest goes over at once and fetches its memory; a point of no return"""
    SUSPEND = "suspend"
    """the guest stands still until everything is sent"""
    ABORT = "abort"
    """the guest stays at the source"""


class Rung(Value):
    """One step of the ladder."""

    when: When
    do: DowntimeTo | ThrottleIo | Act

    @model_validator(mode="after")
    def _can_be_done_then(self) -> Self:
        if self.at_start and not self.when.before_start:
            raise ValueError(
                f"{self.what}: libvirt takes it only before the migration starts, so `when` may only name ratio or after: 0s"
            )
        return self

    @property
    def at_start(self) -> bool:
        """libvirt takes no change of a guest's disks, and no new capability, while it migrates."""
        return isinstance(self.do, ThrottleIo) or self.do is Act.AUTO_CONVERGE

    @property
    def what(self) -> str:
        """What it does, in a few words."""
        match self.do:
            case DowntimeTo(downtime=downtime):
                return f"downtime up to {downtime / timedelta(milliseconds=1):.0f} ms"
            case ThrottleIo(throttle_io=rate):
                return f"disks held to {rate / 1e6:g} MB/s"
            case act:
                return act.value.replace("_", "-")


def _rung(do: DowntimeTo | ThrottleIo | Act, **when: object) -> Rung:
    return Rung(when=When.model_validate(when), do=do)


def _downtime(text: str) -> DowntimeTo:
    return DowntimeTo(downtime=parse_duration(text))


DEFAULT_LADDER: tuple[Rung, ...] = (
    _rung(Act.AUTO_CONVERGE, ratio=0.3),
    _rung(ThrottleIo(throttle_io=20_000_000), ratio=0.9),
    _rung(_downtime("200ms"), after="0s"),
    _rung(Act.POST_COPY, rounds=2, ratio=0.9),
    _rung(_downtime("300ms"), stalled="5s"),
    _rung(_downtime("500ms"), stalled="20s"),
    _rung(Act.POST_COPY, stalled="20s"),
    _rung(Act.SUSPEND, stalled="20s"),
    _rung(Act.ABORT, throttled=0.9),
    _rung(Act.ABORT, stalled="1m"),
)
"""Gentle first. Every downtime is held under the policy's caps, and post-copy and suspending are passed over unless
the policy allows them. A guest throttled by more than 0.9 is as good as stopped: at 0.99 it gets 10 ms in each second,
and was silent for 3 s on the lab."""
