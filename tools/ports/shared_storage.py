"""What every node reaches under the same name, as far as it is known. Pure."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class SharedStorage:
    """What the operator declares to be reachable from every node, and what a node's own pools show to be."""

    paths: tuple[str, ...] = ()
    """directories"""
    pools: tuple[str, ...] = ()
    """names of storage pools"""

    def declares(self, path: str) -> bool:
        """Whether a declared directory holds this file."""
        plain = PurePosixPath(posixpath.normpath(path))  # `/srv/nfs/../local` lies not in `/srv/nfs`
        return path.startswith("/") and any(plain.is_relative_to(directory) for directory in self.paths)

    def holds(self, path: str, *, pool: str = "") -> bool:
        """Whether every node reaches this file, or this volume of a pool."""
        return bool(pool and pool in self.pools) or self.declares(path)
