"""Guests that lie in an archive and are off: for how long that archive is what they are. Pure.

Such a guest needs no other move, however long its node stays bad: what would be copied is in the archive already. That ends
once the guest ran again, since its disks may be others by now, and once it may have run while nobody looked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from models.fleet import Fleet, NodeState, VmState
from models.text import moment

UNSEEN_AFTER = timedelta(minutes=10)
"""a node that nobody saw for longer may have started a guest and stopped it again meanwhile; looks come every few seconds"""


@dataclass(frozen=True, kw_only=True)
class ArchivedGuest:
    """One guest that was archived."""

    vm: str
    """uuid"""
    archive: str
    node: str
    """where it was archived, and its disks are"""
    at: datetime
    """when its archive was whole"""


def outdated(
    guests: Iterable[ArchivedGuest], fleet: Fleet, seen: Mapping[str, datetime], now: datetime
) -> dict[str, str]:
    """archive → why it may not be what its guest is any more, of those that this look shows.

    `seen`: node → when it answered last, before this look; a node that is missing was not seen since the archive was made.
    """
    found: dict[str, str] = {}
    for guest in guests:
        vm = fleet.vm_by_uuid.get(guest.vm)
        if vm is None or fleet.node_by_name[vm.node].state is NodeState.OFFLINE:
            continue  # not seen: a later look tells, and how long nobody looked by then
        before = max(guest.at, seen.get(vm.node, guest.at))
        if vm.state is not VmState.SHUTOFF:
            found[guest.archive] = f"it was seen {vm.state} on {vm.node} at {moment(now)}"
        elif now - before > UNSEEN_AFTER:
            found[guest.archive] = (
                f"nobody saw {vm.node} between {moment(before)} and {moment(now)}: it may have run meanwhile"
            )
    return found
