"""The hash chain: each entry's SHA-256 covers the one before it, so that a change, a gap or another order shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from models.errors import AuditBroken, BadInput
from tools.atomic_file import write_atomically
from tools.ports.journal import Journal, StoredEntry

GENESIS = "0" * 64
"""what the first entry has before it"""
_BATCH = 5_000


def digest(
    seq: int, time: str, kind: str, evacuation: str | None, attempt: str | None, text: str, previous: str
) -> str:
    """SHA-256 of an entry as it is on disk."""
    fields = (seq, time, kind, evacuation, attempt, text, previous)
    return hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).hexdigest()


def check(entries: Iterable[StoredEntry], where: str, *, expected_head: str | None = None) -> int:
    """The number of entries. Raises AuditBroken naming the first that does not fit; or, when the chain holds and
    `expected_head` is in it nowhere, that it was cut off.

    A head that was noted once stays in the chain for good, with newer entries after it.
    """
    previous, count, seen = GENESIS, 0, expected_head in (None, GENESIS)
    for one in entries:
        count += 1
        fault = _fault(one, count, previous)
        if fault is not None:
            raise AuditBroken(
                f"{where}: record {count} ({one.kind}, {one.time}) does not fit the chain: {fault}",
                hint="it, or one before it, was changed or removed; compare with a backup",
            )
        previous = one.sha256
        seen = seen or previous == expected_head
    if not seen and expected_head is not None:
        raise AuditBroken(
            f"{where}: the chain holds, ends at {previous[:16]}… and has no entry {expected_head[:16]}…",
            hint="records at the end are missing since that head was noted; or it is another journal's",
        )
    return count


def export(journal: Journal, path: Path) -> int:
    """Every entry, one JSON object a line, as it is on disk: `check_file` verifies it without the journal. Raises BadInput."""
    lines: list[str] = []
    after = 0
    while batch := journal.stored(after=after, most=_BATCH):
        lines += [json.dumps(asdict(one), ensure_ascii=False) for one in batch]
        after = batch[-1].seq
    try:
        write_atomically(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise BadInput(
            f"can't write {path}: {error.strerror or error}", hint="name a place that can be written"
        ) from error
    return len(lines)


def check_file(path: Path, *, expected_head: str | None = None) -> tuple[int, str]:
    """Of an exported file: how many entries, and the newest's SHA-256. Raises AuditBroken, and BadInput for no such file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"audit file {path} can't be read: {error}", hint="made by `lifeboat audit export`") from error
    entries: list[StoredEntry] = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(StoredEntry(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise AuditBroken(f"audit file {path}: line {number} is no entry", hint="compare with a backup") from error
    count = check(entries, f"audit file {path}", expected_head=expected_head)
    return count, entries[-1].sha256 if entries else GENESIS


def _fault(one: StoredEntry, count: int, previous: str) -> str | None:
    if one.seq != count:
        return f"in its place stands record {one.seq}" + (", those between are missing" if one.seq > count else "")
    if one.previous != previous:
        return "what it names as the record before it is not that"
    if one.sha256 != digest(one.seq, one.time, one.kind, one.evacuation, one.attempt, one.text, previous):
        return "its content is not what was written"
    return None
