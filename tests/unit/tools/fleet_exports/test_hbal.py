"""Ganeti's text file becomes a fleet; what is wrong in it is told by its line."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadInput
from models.fleet import NodeState, VmState
from tools.fleet_exports.hbal import read_hbal
from tools.fleet_exports.imported import Imported

AT = datetime(2026, 11, 28, tzinfo=UTC)
GIB = 1 << 30
FILE = """\
group-01|uuid-group-01|preferred||

node-01|65536|1024|40960|1048576|1024000|16|M|uuid-group-01|1||N|0|2|1.0
node-02|65536|1024|60000|1048576|1024000|16|N|uuid-group-01|1||N|0|2|1.0
node-03|65536|1024|60000|1048576|1024000|16|Y|uuid-group-01|1||N|0|2|1.0

web|8192|20480|4|running|Y|node-01||rbd||1|-
db|16384|51200|8|running|Y|node-01|node-02|drbd||1|-
old|2048|10240|1|ADMIN_down|Y|node-02||plain||1|-
stray|2048|10240|1|ERROR_up|Y|node-02||plain||1|-

a-tag

|128,1,1024,1,1,1|128,1,1024,1,1,1;32768,8,1048576,16,8,12|plain,drbd|4.0|32.0
"""


def read(text: str) -> Imported:
    return read_hbal(text, Path("cluster.data"), AT)


def test_a_cluster() -> None:
    fleet = read(FILE).fleet
    assert [node.name for node in fleet.nodes] == ["node-01", "node-02", "node-03"]
    first = fleet.nodes[0]
    assert (first.memory_bytes, first.memory_reserved_bytes, first.cpus, first.cpu_overcommit) == (
        64 * GIB,
        GIB,
        16,
        4.0,
    )
    assert [node.state for node in fleet.nodes] == [NodeState.ACTIVE, NodeState.ACTIVE, NodeState.OFFLINE]
    web, db, old, stray = fleet.vms
    assert (web.node, web.memory_bytes, web.vcpus, web.disk_bytes) == ("node-01", 8 * GIB, 4, 20 * GIB)
    assert [vm.state for vm in (web, old, stray)] == [VmState.RUNNING, VmState.SHUTOFF, VmState.RUNNING]
    assert [vm.shared_storage for vm in (web, db, old)] == [True, False, False]
    assert fleet.observed_at == AT


def test_what_the_file_does_not_tell_is_said() -> None:
    remarks = " ".join(read(FILE).remarks)
    assert "1 vms are on DRBD" in remarks
    assert "priorities" in remarks
    without = read("\n\n".join(FILE.split("\n\n")[:3]))
    assert any("no policy section" in line for line in without.remarks)
    assert without.fleet.nodes[0].cpu_overcommit == 1.0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("|8192|20480", "|lots|20480", r"line 7: memory is 'lots'"),
        ("|8192|20480", "|-5|20480", r"line 7: memory is '-5'"),
        ("|8192|20480", "|nan|20480", r"line 7: memory is 'nan'"),
        ("|node-01||rbd", "|node-09||rbd", r"line 7: instance web is on node-09"),
        ("old|2048", "web|2048", r"instance web appears twice"),
        ("node-03|65536", "node-01|65536", r"node node-01 appears twice"),
        ("web|8192|20480|4|running|Y|node-01||rbd||1|-", "web|8192", r"line 7: 2 columns"),
        ("web|8192", "|8192", r"line 7: no name"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(old: str, new: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read(FILE.replace(old, new, 1))


def test_another_file_is_refused() -> None:
    with pytest.raises(BadInput, match="1 sections"):
        read("hello")


@given(st.text(alphabet="ab|0159\n-.,NY", max_size=300))
def test_no_text_makes_it_fall_over(text: str) -> None:
    with suppress(BadInput):
        assert read(text).fleet.observed_at == AT
