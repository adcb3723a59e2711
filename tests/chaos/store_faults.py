"""An archive store in memory that fills up, goes away and comes back, behind fsspec as any other."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem


@dataclass
class StoreFaults:
    """What the store holds, and what is wrong with it now."""

    files: dict[str, Any] = field(default_factory=dict[str, Any])
    directories: list[str] = field(default_factory=lambda: [""])
    room: int | None = None
    """bytes that still fit; None: no end of them"""
    gone: bool = False
    before_each: Callable[[], None] = lambda: None
    """raises when the process that uses the store was stopped"""

    def check(self) -> None:
        self.before_each()
        if self.gone:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    def take(self, size: int) -> None:
        self.check()
        if self.room is not None:
            if size > self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.room -= size


class _File(MemoryFile):
    def write(self, data: Any) -> int:
        self.fs.faults.take(len(data))
        return super().write(data)

    def read(self, *args: Any) -> bytes:
        self.fs.faults.check()
        return super().read(*args)


class FaultyFileSystem(MemoryFileSystem):
    """`faulty://`, with the option `faults`."""

    protocol = "faulty"
    cachable = False

    def __init__(self, *, faults: StoreFaults, **storage: Any) -> None:
        super().__init__(**storage)
        self.faults = faults
        self.store = faults.files
        self.pseudo_dirs = faults.directories

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, str) and path.startswith("faulty://"):
            path = path.removeprefix("faulty://")
        return MemoryFileSystem._strip_protocol(path)

    def _open(self, path: str, mode: str = "rb", *args: Any, **more: Any) -> Any:
        self.faults.check()
        opened = super()._open(path, mode, *args, **more)
        if mode == "wb":
            opened = _File(self, opened.path, b"")
            opened.commit()
        return opened

    def ls(self, path: str, detail: bool = True, **more: Any) -> Any:
        self.faults.check()
        return super().ls(path, detail=detail, **more)

    def cat_file(self, path: str, *args: Any, **more: Any) -> bytes:
        self.faults.check()
        return super().cat_file(path, *args, **more)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self.faults.check()
        super().makedirs(path, exist_ok=exist_ok)

    def exists(self, path: str, **more: Any) -> bool:
        self.faults.check()
        return super().exists(path, **more)

    def rm(self, path: Any, *args: Any, **more: Any) -> None:
        self.faults.check()
        super().rm(path, *args, **more)


fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
