"""Where a vm's memory has to lie, and whether a node's NUMA cells have it free. Pure.

Pages come in sizes and lie in cells: a node may have enough hugepages in all and too few in the one cell that a vm is
tied to (`<numatune>`), and QEMU then ends while the migration begins.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from tools.ports.vms import Cell

UNITS = {
    "b": 1, "bytes": 1, "KB": 10**3, "k": 1 << 10, "KiB": 1 << 10, "MB": 10**6, "M": 1 << 20, "MiB": 1 << 20,
    "GB": 10**9, "G": 1 << 30, "GiB": 1 << 30, "TB": 10**12, "T": 1 << 40, "TiB": 1 << 40,
}  # fmt: skip
HOST_DEFAULT_HUGEPAGE = 2 << 20
"""what `<hugepages/>` without a size means on x86-64"""
_BINDING = ("strict", "restrictive")
_MOST_BINDINGS = 8


@dataclass(frozen=True)
class Demand:
    """Memory of one page size that may lie in some cells only."""

    bytes: int
    page_bytes: int
    """0: normal pages"""
    cells: frozenset[int] | None = None
    """numbers of the node's cells; None: any"""


@dataclass(frozen=True)
class Shortage:
    """What is missing: the memory that only `cells` may hold, and what they have free."""

    page_bytes: int
    cells: tuple[int, ...] | None
    needed_bytes: int
    free_bytes: int


def shortage(demands: Sequence[Demand], cells: Sequence[Cell]) -> Shortage | None:
    """The first demand (or group of them) that the cells can't meet; None when all can be met at once.

    Memory of one page size can be divided freely, so by Hall's theorem it fits exactly when every union of the allowed
    sets has room for all that must lie inside it.
    """
    known = frozenset(cell.id for cell in cells)
    by_page: dict[int, list[tuple[frozenset[int], int]]] = defaultdict(list)
    for demand in demands:
        by_page[demand.page_bytes].append((known if demand.cells is None else demand.cells & known, demand.bytes))
    for page, wanted in sorted(by_page.items()):
        page_cells = sorted({allowed for allowed, _ in wanted}, key=lambda each: (len(each), sorted(each)))
        for count in range(1, min(len(page_cells), _MOST_BINDINGS) + 1):
            for chosen in combinations(page_cells, count):
                union = frozenset[int]().union(*chosen)
                needed = sum(size for allowed, size in wanted if allowed <= union)
                free = sum(cell.free(page) for cell in cells if cell.id in union)
                if free < needed:
                    return Shortage(page, None if union == known else tuple(sorted(union)), needed, free)
    return None


def memory_demands(root: ET.Element, memory_bytes: int) -> tuple[Demand, ...]:
    """What a `<domain>` asks of its host: by guest NUMA cell where it has some, else all of it as one."""
    guest_cells = [
        (int(cell.get("id", number)), int(cell.get("memory", "0")) * UNITS.get(cell.get("unit", "KiB"), 1 << 10))
        for number, cell in enumerate(root.findall("./cpu/numa/cell"))
    ] or [(0, memory_bytes)]
    common = _bound_to(root.find("./numatune/memory"))
    own = {int(node.get("cellid", "0")): _bound_to(node) for node in root.findall("./numatune/memnode")}
    return tuple(
        Demand(size, _page_bytes(root, guest_cell), own.get(guest_cell, common)) for guest_cell, size in guest_cells
    )


def hugepage_bytes(root: ET.Element) -> int:
    """The largest hugepage size of a `<domain>`; 0 for normal pages only."""
    element = root.find("./memoryBacking/hugepages")
    if element is None:
        return 0
    return max((_size_of(page) for page in element), default=HOST_DEFAULT_HUGEPAGE)


def parse_nodeset(text: str) -> frozenset[int]:
    """libvirt's `0-3,^2,5`."""
    chosen: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, _, last = part.lstrip("^").partition("-")
        numbers = range(int(first), int(last or first) + 1)
        chosen = chosen.difference(numbers) if part.startswith("^") else chosen.union(numbers)
    return frozenset(chosen)


def _bound_to(element: ET.Element | None) -> frozenset[int] | None:
    """A preference, or memory spread over cells, may lie anywhere; so may what numad places when it starts."""
    if element is None or element.get("mode", "strict") not in _BINDING or not element.get("nodeset"):
        return None
    return parse_nodeset(element.get("nodeset", ""))


def _page_bytes(root: ET.Element, guest_cell: int) -> int:
    element = root.find("./memoryBacking/hugepages")
    if element is None:
        return 0
    pages = list(element)
    if not pages:
        return HOST_DEFAULT_HUGEPAGE
    for page in pages:
        if page.get("nodeset") and guest_cell in parse_nodeset(page.get("nodeset", "")):
            return _size_of(page)
    return next((_size_of(page) for page in pages if not page.get("nodeset")), 0)


def _size_of(page: ET.Element) -> int:
    size = int(page.get("size", "0")) * UNITS.get(page.get("unit", "KiB"), 1 << 10)
    return size or HOST_DEFAULT_HUGEPAGE
