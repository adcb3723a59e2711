"""Which certificate each node is known by: SHA-256 fingerprints in `state_dir/pins.json`, every change in the journal.

A CA vouches for any certificate it ever signed, also for one that went to the wrong machine. A pin is narrower: this
node, this certificate.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import Field, ValidationError

from models.base import UtcTime, Value
from models.errors import BadInput, IdentityUnproven
from models.policy.policy import PinRule
from tools.atomic_file import write_atomically
from tools.ports.clock import Clock
from tools.ports.journal import Journal
from tools.ports.records.nodes import CertificatePinned


class Pin(Value):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """of the certificate"""
    pinned_at: UtcTime
    by: str
    """`doctor`, or `first-use` during a move"""


class PinState(StrEnum):
    NEW = "new"
    SAME = "same"
    CHANGED = "changed"
    """another certificate is pinned; it was left alone"""
    REPLACED = "replaced"


class _PinFile(Value):
    version: int = Field(default=1, ge=1, le=1)
    pins: dict[str, Pin] = Field(default={})


class Pins:
    """The pins in one file. Safe for several threads and processes; written whole or not at all."""

    def __init__(self, path: Path, journal: Journal, clock: Clock) -> None:
        self._path = path
        self._journal = journal
        self._clock = clock

    def known(self) -> dict[str, Pin]:
        """By node. Raises BadInput for a file that can't be read: an unreadable pin is not a missing one."""
        try:
            return _PinFile.model_validate_json(self._path.read_bytes()).pins
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            raise BadInput(
                f"pins file {self._path} can't be used: {' '.join(str(error).split())[:160]}",
                hint="restore it from a backup; or, having checked every node's certificate yourself, remove it and pin anew",
            ) from error

    def recorded(self) -> dict[str, str]:
        """Node → the fingerprint that the journal says was pinned last."""
        return {entry.record.node: entry.record.sha256 for entry in self._journal.of(CertificatePinned)}

    def pin(self, node: str, sha256: str, *, by: str, replace: bool = False) -> PinState:
        """Record a node's certificate. Another one that is pinned already is left alone unless `replace`, which also repairs
        a pin that the journal does not know of.

        The journal has the change before the file does. Raises BadInput when the file can't be read or written.
        """
        with self._locked():
            pins = self.known()
            before = pins.get(node)
            if before is not None and before.sha256 == sha256 and not (replace and self.recorded().get(node) != sha256):
                return PinState.SAME
            if before is not None and not replace:
                return PinState.CHANGED
            now = self._clock.now()
            record = CertificatePinned(node=node, sha256=sha256, before=before.sha256 if before else None, by=by)
            self._journal.append(record, now=now)
            self._write(pins, node, sha256, now, by)
            return PinState.NEW if before is None else PinState.REPLACED

    def checker(self, rule: PinRule) -> Callable[[str, str], None] | None:
        """What compares a shown certificate with the pinned one as policy says, raising IdentityUnproven; None: nothing."""
        if rule is PinRule.OFF:
            return None

        def check(node: str, sha256: str) -> None:
            pinned = self.known().get(node)
            if pinned is None and rule is PinRule.REQUIRED:
                raise IdentityUnproven(
                    f"node {node}: no certificate is pinned, and policy requires one; it shows {sha256}",
                    hint="compare it with the one on the node, then `lifeboat doctor --pin`; nothing was sent",
                )
            if pinned is None:
                self._require_as_recorded(node, sha256)
                if self.pin(node, sha256, by="first-use") is not PinState.CHANGED:
                    return
            pinned = pinned or self.known()[node]
            if pinned.sha256 != sha256:
                raise IdentityUnproven(
                    f"node {node}: it shows certificate {sha256[:16]}…, pinned since {pinned.pinned_at:%Y-%m-%d %H:%MZ} is "
                    f"{pinned.sha256[:16]}…",
                    hint=f"if it was renewed, compare it on the node, then `lifeboat doctor --repin {node}`; nothing was sent",
                )

        return check

    def _require_as_recorded(self, node: str, sha256: str) -> None:
        """A pin that is gone from the file is no first use: whoever removed the file may want another node trusted."""
        before = self.recorded().get(node)
        if before is not None and before != sha256:
            raise IdentityUnproven(
                f"node {node}: it shows certificate {sha256[:16]}…; the journal says that {before[:16]}… was pinned, and "
                f"{self._path} has no pin of it any more",
                hint=f"compare it on the node, then `lifeboat doctor --repin {node}`; nothing was sent",
            )

    def checker_of(self, node: str, rule: PinRule) -> Callable[[str, str], None] | None:
        """The same for a node that is pinned; None for another: lifeboat may reach it over SSH, where it shows none."""
        return self.checker(rule) if node in self.known() else None

    @contextmanager
    def _locked(self) -> Generator[None]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)
        except OSError as error:
            raise BadInput(
                f"pins file {self._path}: {error.strerror or error}", hint="check state_dir in the settings"
            ) from error

    def _write(self, pins: dict[str, Pin], node: str, sha256: str, now: datetime, by: str) -> None:
        content = _PinFile(pins={**pins, node: Pin(sha256=sha256, pinned_at=now, by=by)})
        write_atomically(self._path, json.dumps(content.model_dump(mode="json"), indent=2))
