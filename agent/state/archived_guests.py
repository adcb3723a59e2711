"""What the journal remembers of archived guests: whose archive is still what they are, and the looks that tell when it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from models.fleet import Fleet, NodeState
from models.hindsight.look_back import LOOK_GAP
from models.planning.archived import ArchivedGuest, outdated
from models.risk.risk import Risk
from tools.ports.clock import Clock
from tools.ports.journal import Journal
from tools.ports.records.cold import ArchiveChecked, Archived, ArchiveOutdated
from tools.ports.records.hindsight import NodesSeen


def standing_archives(journal: Journal) -> dict[str, ArchivedGuest]:
    """archive → its guest, of every archive that nothing was said against. One that a lifeboat wrote which did not note the
    guest yet is not among them."""
    over = {entry.record.archive for entry in journal.of(ArchiveOutdated)}
    over |= {entry.record.archive for entry in journal.of(ArchiveChecked) if not entry.record.sound}
    standing: dict[str, ArchivedGuest] = {}
    for entry in journal.of(Archived):
        made = entry.record
        if made.vm and made.archive not in over:
            guest = ArchivedGuest(vm=made.vm, archive=made.archive, node=made.node, at=entry.at)
            standing.setdefault(made.archive, guest)
    return standing


def archives_to_go_by(journal: Journal, now: datetime, *, unwatched: timedelta) -> list[ArchivedGuest]:
    """Those that stand for what their guests are now. Where no background agent looks at the nodes, nobody would have seen a
    guest run: then only those of the last `unwatched`."""
    standing = standing_archives(journal).values()
    if not standing:
        return []
    if journal.of(NodesSeen, since=now - LOOK_GAP):
        return list(standing)
    return [guest for guest in standing if guest.at >= now - unwatched]


@dataclass(kw_only=True)
class ArchiveWatch:
    """Looks for somebody, and notes which archived guests ran, or may have run, since they were archived."""

    look_now: Callable[[], tuple[Fleet, list[Risk]]]
    journal: Journal
    clock: Clock
    _seen: dict[str, datetime] | None = field(default=None, init=False)
    """node → when it answered last"""

    def look(self) -> tuple[Fleet, list[Risk]]:
        """Raises as the look itself, and NotWritten."""
        fleet, risks = self.look_now()
        self._notice(fleet)
        return fleet, risks

    def _notice(self, fleet: Fleet) -> None:
        now = fleet.observed_at
        # one that became whole while this look went on may have been seen before it was stopped
        guests = [guest for guest in standing_archives(self.journal).values() if guest.at <= now]
        answered = [node.name for node in fleet.nodes if node.state is not NodeState.OFFLINE]
        if self._seen is None:
            self._seen = self._as_noted(answered)
        for archive, why in outdated(guests, fleet, self._seen, now).items():
            self.journal.append(ArchiveOutdated(archive=archive, why=why), now=self.clock.now())
        self._seen |= dict.fromkeys(answered, now)

    def _as_noted(self, nodes: list[str]) -> dict[str, datetime]:
        """By an agent before this one, which looked at least until then."""
        noted = self.journal.of(NodesSeen)
        if not noted:
            return {}
        last = noted[-1]
        return {node: last.at for node in nodes if node not in last.record.silent}
