"""Memory by page size and NUMA cell: what a definition asks for, and whether a node has it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.domain.numa import Demand, memory_demands, parse_nodeset, shortage
from tools.ports.vms import Cell

GIB = 1 << 30
HUGE = 2 << 20
GUEST_CELLS = "<cpu><numa><cell id='0' memory='1' unit='GiB'/><cell id='1' memory='3' unit='GiB'/></numa></cpu>"


@pytest.mark.parametrize(
    ("xml", "demands"),
    [
        ("", [Demand(4 * GIB, 0)]),
        ("<numatune><memory mode='strict' nodeset='0-1'/></numatune>", [Demand(4 * GIB, 0, frozenset({0, 1}))]),
        ("<numatune><memory nodeset='1'/></numatune>", [Demand(4 * GIB, 0, frozenset({1}))]),
        ("<numatune><memory mode='preferred' nodeset='1'/></numatune>", [Demand(4 * GIB, 0)]),
        ("<numatune><memory mode='strict' placement='auto'/></numatune>", [Demand(4 * GIB, 0)]),
        ("<memoryBacking><hugepages/></memoryBacking>", [Demand(4 * GIB, HUGE)]),
        (
            f"<memoryBacking><hugepages><page size='1' unit='G' nodeset='1'/></hugepages></memoryBacking>{GUEST_CELLS}"
            "<numatune><memnode cellid='1' mode='strict' nodeset='3'/></numatune>",
            [Demand(GIB, 0), Demand(3 * GIB, GIB, frozenset({3}))],
        ),
        (
            f"<memoryBacking><hugepages><page size='2048'/><page size='1' unit='G' nodeset='0'/></hugepages>"
            f"</memoryBacking>{GUEST_CELLS}",
            [Demand(GIB, GIB), Demand(3 * GIB, HUGE)],
        ),
    ],
)
def test_what_a_definition_asks_for(xml: str, demands: list[Demand]):
    assert list(memory_demands(ET.fromstring(f"<domain>{xml}</domain>"), 4 * GIB)) == demands


@pytest.mark.parametrize(
    ("text", "cells"), [("0", {0}), ("0-3,^2", {0, 1, 3}), ("1,4-5", {1, 4, 5}), ("", set()), ("0-1,^0-1", set())]
)
def test_nodesets(text: str, cells: set[int]):
    assert parse_nodeset(text) == cells


def test_a_cell_that_does_not_exist_there_holds_nothing():
    lacking = shortage([Demand(1, 0, frozenset({7}))], [Cell(id=0, memory_bytes=10, free_bytes=10)])
    assert lacking is not None
    assert (lacking.cells, lacking.needed_bytes, lacking.free_bytes) == ((), 1, 0)


def test_two_that_fit_alone_and_not_together():
    cells = [Cell(id=0, memory_bytes=4, free_bytes=4), Cell(id=1, memory_bytes=4, free_bytes=4)]
    tied = [Demand(3, 0, frozenset({0})), Demand(5, 0, frozenset({0, 1}))]
    assert shortage(tied, cells) is None
    lacking = shortage([*tied, Demand(1, 0)], cells)
    assert lacking is not None
    assert (lacking.cells, lacking.needed_bytes, lacking.free_bytes) == (None, 9, 8)


@given(
    free=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    wanted=st.lists(st.tuples(st.integers(1, 2), st.sets(st.integers(0, 2), max_size=3)), max_size=3),
)
def test_it_fits_exactly_when_some_way_of_dividing_it_does(free: list[int], wanted: list[tuple[int, set[int]]]):
    """Against trying every way, byte by byte."""
    cells = [Cell(id=number, memory_bytes=4, free_bytes=size) for number, size in enumerate(free)]
    demands = [Demand(size, 0, frozenset(allowed)) for size, allowed in wanted]
    units = [sorted(allowed) for size, allowed in wanted for _ in range(size)]
    possible = any(
        all(placed.count(number) <= size for number, size in enumerate(free)) and all(p < len(free) for p in placed)
        for placed in product(*units)
    )
    assert (shortage(demands, cells) is None) == possible
