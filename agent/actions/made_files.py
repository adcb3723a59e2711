"""Images and state files that an attempt makes on a node: whose they are is in the journal, and looked at before any is removed.

A path says nothing of that: between two looks somebody may have put an image of their own there. What is not seen to be the
attempt's stays, and is named.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.actions.resources import Resources
from models.errors import LifeboatError, PrecheckFailed
from tools.ports.journal import Entry, R, Record
from tools.ports.records.cold import DefinitionLeft, StartIntended
from tools.ports.records.disks import DiskCreated, DiskIntended, DiskKept, DiskLeft, DiskRefused, StateFileCreated
from tools.ports.storage import Storage
from tools.ports.vms import StateFile, StorageFacts

_CLOCK_SLACK = timedelta(seconds=10)
"""between lifeboat's clock and a node's"""
_EMPTY_QCOW2_BYTES = 256 << 10
"""an image of qcow2's usual 64 KiB clusters that holds nothing has four: header, reference table and block, L1 table"""


@dataclass(frozen=True, kw_only=True)
class MadeFile:
    """One file that an attempt made, or may have made."""

    node: str
    path: str
    state: bool = False
    """a state file, not an image"""
    created: bool = True
    """the journal says that it was made; else a crash may have come in between"""
    identity: str = ""
    sha256: str = ""
    format: str = ""
    virtual_bytes: int = 0


def why_image_stays(made: MadeFile, facts: StorageFacts, *, left_at: datetime | None = None) -> str | None:
    """Why the image that lies at the path of one that was made must not be removed; None when it is that one.

    `left_at`: when it was left there, by lifeboat's clock; None right after it was made.
    """
    if facts.used_by:
        return f"vm {', '.join(facts.used_by)} uses it"
    if made.identity and made.identity != facts.identity:
        return "another image lies there than the one that was made"
    if not made.created and not _is_empty_as_made(made, facts):
        return "the journal does not say that it was made, and it holds data"
    if left_at is not None and not made.identity and (facts.changed is None or facts.changed > left_at + _CLOCK_SLACK):
        when = f"at {facts.changed:%Y-%m-%d %H:%M:%SZ}" if facts.changed else "perhaps"
        return f"it was changed since, {when}"
    return None


def _is_empty_as_made(made: MadeFile, facts: StorageFacts) -> bool:
    if (made.format, made.virtual_bytes) != (facts.format, facts.virtual_bytes):
        return False
    return facts.allocated_bytes == 0 or (facts.format == "qcow2" and facts.image_bytes <= _EMPTY_QCOW2_BYTES)


@dataclass(frozen=True, kw_only=True)
class MadeFiles:
    """What one attempt makes, as the journal has it."""

    hands: Resources
    vm: str
    """uuid"""
    attempt: str
    evacuation: str | None = None

    def create_disk(
        self, node: Storage, path: str, *, format: str, virtual_bytes: int, needed_bytes: int | None = None
    ) -> None:
        """Make an empty image. What the node refuses to make is never this attempt's. Raises PrecheckFailed."""
        absent = not node.disk_exists(path)
        self._record(DiskIntended(node=node.name, path=path, absent=absent, format=format, virtual_bytes=virtual_bytes))
        try:
            identity = node.create_disk(path, format=format, virtual_bytes=virtual_bytes, needed_bytes=needed_bytes)
        except PrecheckFailed:
            self._record(DiskRefused(node=node.name, path=path))
            raise
        self._record(DiskCreated(node=node.name, path=path, identity=identity or ""))

    def put_state_file(self, node: Storage, file: StateFile) -> None:
        """Write one, unless the very same is there already. Raises PrecheckFailed."""
        if node.write_state_file(file):
            self._record(StateFileCreated(node=node.name, path=file.path, sha256=_sha256(file.content)))

    def remove(self) -> list[str]:
        """Of a move that did not happen: only with the node seen without the vm. Overlays go before what they lie on.

        What was not removed and what becomes of it, in words; the journal has it too."""
        left: list[str] = []
        started = bool(self._recorded(StartIntended))  # QEMU may have written to its state files then
        for made in self._made():
            try:
                why = why_not_removed(self.hands.node(made.node), made, look_inside=not started)
            except LifeboatError as error:
                left.append(self._leave(made, str(error)))
                continue
            if why:
                self._record(DiskKept(node=made.node, path=made.path, vm=self.vm, why=why))
                left.append(f"{made.path} on {made.node} stays: {why}")
        return left

    def defer_removal(self, why: str) -> list[str]:
        """Of a move that did not happen, with the node not seen without the vm; as `remove` else."""
        return [self._leave(made, why) for made in self._made()]

    def leave_definition(self, node: str, why: str) -> str:
        """Of one that was tried at a node which does not answer now; what becomes of it, in words. The journal has it too."""
        self._record(DefinitionLeft(node=node, vm=self.vm, error=why))
        return f"its definition may be left on {node}, shut off, and is removed at the next start"

    def _leave(self, made: MadeFile, why: str) -> str:
        self._record(
            DiskLeft(
                node=made.node,
                path=made.path,
                state=made.state,
                vm=self.vm,
                error=why,
                created=made.created,
                identity=made.identity,
                sha256=made.sha256,
                format=made.format,
                virtual_bytes=made.virtual_bytes,
            )
        )
        return f"{made.path} on {made.node} is left, to be removed at the next start"

    def _made(self) -> list[MadeFile]:
        """All that is, or may be, this attempt's, newest first."""
        ours: dict[tuple[str, str], MadeFile] = {}
        for entry in self._recorded(DiskIntended, DiskRefused, DiskCreated, StateFileCreated):
            record = entry.record
            place = (record.node, record.path)
            match record:
                case DiskIntended(absent=True):
                    ours[place] = MadeFile(
                        node=record.node,
                        path=record.path,
                        created=False,
                        format=record.format,
                        virtual_bytes=record.virtual_bytes,
                    )
                case DiskCreated():
                    ours[place] = MadeFile(node=record.node, path=record.path, identity=record.identity)
                case StateFileCreated():
                    ours[place] = MadeFile(node=record.node, path=record.path, state=True, sha256=record.sha256)
                case _:
                    ours.pop(place, None)
        return list(reversed(ours.values()))

    def _record(self, record: Record) -> None:
        now = self.hands.clock.now()
        self.hands.journal.append(record, now=now, evacuation=self.evacuation, attempt=self.attempt)

    def _recorded(self, *kinds: type[R]) -> list[Entry[R]]:
        return self.hands.journal.of(*kinds, attempt=self.attempt)


def why_not_removed(
    node: Storage, made: MadeFile, *, look_inside: bool = True, left_at: datetime | None = None
) -> str | None:
    """Remove it, or say why it stays; None as well when it was gone. `look_inside`: compare a state file with what was
    written. Raises LifeboatError when the node can't do it now."""
    if made.state:
        content = node.read_state_file(made.path) if look_inside and made.sha256 else None
        if content is not None and _sha256(content) != made.sha256:
            return "it holds something else than what was written"
        if users := node.users_of(made.path):
            return f"vm {', '.join(sorted(users.values()))} uses it"
        node.delete_state_file(made.path)
        return None
    if not node.disk_exists(made.path):
        return None
    why = why_image_stays(made, node.storage_facts(made.path), left_at=left_at)
    if why is None:
        node.delete_disk(made.path)
    return why


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
