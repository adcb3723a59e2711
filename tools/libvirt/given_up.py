"""How many questions to each node's libvirt were given up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping


class GivenUp:
    """A count for each node, from 0. Safe for several threads."""

    def __init__(self, nodes: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(nodes, 0))

    def note(self, node: str) -> None:
        """One more: no answer came in time."""
        with self._lock:
            self._counts[node] += 1

    def counts(self) -> Mapping[str, int]:
        """Node → how many."""
        with self._lock:
            return dict(self._counts)
