"""When a guest is still the one that something was learned of."""

from __future__ import annotations

import pytest

from tools.domain.incarnation import incarnation_of

GUEST = """<domain type='kvm' id='7'><name>x</name><memory>1048576</memory><currentMemory>1048576</currentMemory>
<metadata><note>a</note></metadata><vcpu current='1'>2</vcpu><devices>
<disk type='file'><source file='/a.qcow2'/><target dev='vda'/><iotune><total_bytes_sec>0</total_bytes_sec></iotune></disk>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='disconnected'/></channel>
</devices></domain>"""


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("<currentMemory>1048576", "<currentMemory>524288"),
        ("<note>a</note>", "<note>b</note><attempt id='e-000'/>"),
        ("current='1'", "current='2'"),
        ("<total_bytes_sec>0", "<total_bytes_sec>9"),
        ("state='disconnected'", "state='connected'"),
        ("<devices>", "<devices>\n  "),
    ],
)
def test_what_changes_while_it_runs_makes_no_other_guest_of_it(was: str, becomes: str):
    changed = GUEST.replace(was, becomes)
    assert changed != GUEST
    assert incarnation_of(changed) == incarnation_of(GUEST) != ""


@pytest.mark.parametrize(("was", "becomes"), [("id='7'", "id='8'"), ("/a.qcow2", "/b.qcow2"), ("vda", "sda")])
def test_a_new_start_or_another_device_does(was: str, becomes: str):
    assert incarnation_of(GUEST.replace(was, becomes)) != incarnation_of(GUEST)


def test_the_definition_for_its_next_start_counts_too():
    assert incarnation_of(GUEST, GUEST) != incarnation_of(GUEST, GUEST.replace("/a.qcow2", "/b.qcow2"))


def test_a_definition_that_cant_be_read_tells_nothing():
    assert incarnation_of("<domain") == ""
