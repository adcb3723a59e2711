"""The lab's own parts that need no lab: reading rings, judging probes, records of processes, the initramfs."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.hardware import disk_ring
from lab.hardware.disk_ring import RECORD_BYTES, RING_SLOTS
from lab.nodes import initramfs, processes
from lab.nodes.node import Journal, Lab, lab_root, start_recorded
from lab.nodes.probe import Answer, ProbeResult, parse_answer, parse_target
from lab.nodes.processes import ProcessRef
from models.errors import BadInput, LabError


def _sector(sequence: int, boot_id: int = 0xABC) -> bytes:
    body = struct.pack("<8sQQQQ32s436x", b"LBRING01", sequence, boot_id, 1_700_000_000_000_000_000, 100_000_000, b"g")
    return body + struct.pack("<I", zlib.crc32(body))


def _disk(sequences: list[int], boot_id: int = 0xABC) -> bytearray:
    disk = bytearray(RING_SLOTS * RECORD_BYTES)
    for sequence in sequences:
        at = sequence % RING_SLOTS * RECORD_BYTES
        disk[at : at + RECORD_BYTES] = _sector(sequence, boot_id)
    return disk


@settings(max_examples=25, deadline=None)
@given(first=st.integers(1, 10**9), length=st.integers(1, 3 * RING_SLOTS))
def test_a_ring_gives_the_newest_records_in_order_however_often_it_wrapped(first: int, length: int):
    ring = disk_ring.parse(bytes(_disk(list(range(first, first + length))[-RING_SLOTS:])))
    assert ring.last is not None
    assert ring.last.sequence == first + length - 1
    assert ring.missing() == []
    assert ring.torn == 0
    assert len(ring.records) == min(length, RING_SLOTS)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, RECORD_BYTES - 1), st.integers(1, 255))
def test_one_changed_byte_makes_a_record_torn(at: int, change: int):
    disk = _disk([1, 2, 3])
    disk[2 * RECORD_BYTES + at] ^= change
    ring = disk_ring.parse(bytes(disk))
    assert ring.torn == 1
    assert ring.missing() == [2]


def test_a_record_in_the_wrong_slot_is_torn():
    disk = _disk([1])
    disk[5 * RECORD_BYTES : 6 * RECORD_BYTES] = _sector(7)
    assert disk_ring.parse(bytes(disk)).torn == 1


def test_boots_come_in_the_order_they_wrote():
    disk = _disk([1, 2], boot_id=0xFF)
    disk[3 * RECORD_BYTES : 4 * RECORD_BYTES] = _sector(3, boot_id=0x1)
    assert disk_ring.parse(bytes(disk)).boots() == ["00000000000000ff", "0000000000000001"]


def _answer(at: float, counter: int, *, boot: str = "a", durable: int | None = None) -> Answer:
    return Answer(at, "g", boot, counter, counter if durable is None else durable, 0.1)


@pytest.mark.parametrize(
    ("times", "blackout"),
    [
        ([0.1, 0.2, 0.9, 1.0], 0.7),
        ([0.6, 1.0], 0.6),  # silent at the start
        ([0.1], 0.9),  # silent until the end
        ([], 1.0),
    ],
)
def test_blackout_is_the_longest_silence_ends_included(times: list[float], blackout: float):
    result = ProbeResult(started=0.0, ended=1.0, sent=100, answers=tuple(_answer(at, 1) for at in times))
    assert result.blackout_seconds == pytest.approx(blackout)


def test_blackout_of_a_part_does_not_see_what_was_before_it():
    result = ProbeResult(started=0.0, ended=3.0, sent=0, answers=tuple(_answer(at, 1) for at in (2.0, 2.5, 2.9)))
    assert result.blackout_seconds == pytest.approx(2.0)
    assert result.since(2.0).blackout_seconds == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("counters", "unbroken"), [([1, 1, 2], True), ([5, 4], False), ([90, 0, 1], False), ([], False)]
)
def test_a_counter_that_goes_back_or_never_came_is_broken(counters: list[int], unbroken: bool):
    result = ProbeResult(started=0, ended=1, sent=0, answers=tuple(_answer(0.1 * n, c) for n, c in enumerate(counters)))
    assert result.counter_unbroken is unbroken


def test_acknowledged_writes_that_vanish_are_counted():
    result = ProbeResult(
        started=0,
        ended=1,
        sent=0,
        answers=(_answer(0.1, 10), _answer(0.2, 11, durable=4), _answer(0.3, 12, durable=12)),
    )
    assert result.lost_writes == 6


@given(st.binary(max_size=200))
def test_what_is_no_answer_is_none_and_never_an_error(data: bytes):
    assert parse_answer(data, 0.0) is None


@pytest.mark.parametrize("target", ["10.0.0.1:7", "tcp://10.0.0.1:7", "udp://10.0.0.1", "udp://:7", ""])
def test_a_probe_target_that_is_no_udp_url_is_bad_input(target: str):
    with pytest.raises(BadInput, match="udp://ADDRESS:PORT"):
        parse_target(target)


@pytest.mark.parametrize("name", ["", "Default", "a b", "../x", "muchtoolong"])
def test_a_lab_name_that_fits_no_interface_is_bad_input(name: str):
    with pytest.raises(BadInput):
        lab_root(name)


def test_a_torn_last_line_of_the_journal_is_left_aside(tmp_path: Path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.add("link", name="lb-x")
    with journal.path.open("a") as file:
        file.write('{"kind": "link", "na')
    assert journal.read("link") == [{"kind": "link", "name": "lb-x"}]


def test_a_daemon_is_in_the_journal_and_can_be_killed(tmp_path: Path):
    journal = Journal(tmp_path / "journal.jsonl")
    ref = start_recorded(journal, "", ["sleep", "1000"], log=tmp_path / "log")
    assert journal.processes() == [ref]
    assert ref.alive()
    ref.kill()
    assert processes.wait_gone([ref], 10) == []
    assert not ref.alive()


def test_nothing_starts_once_the_lab_is_being_taken_down(tmp_path: Path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.add("closing")
    with pytest.raises(LabError, match="taken down"):
        start_recorded(journal, "", ["touch", str(tmp_path / "ran")], log=tmp_path / "log")
    assert processes.wait_gone(journal.processes(), 10) == []
    assert not (tmp_path / "ran").exists()


def test_a_process_that_got_the_pid_later_is_left_alone():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        ref = ProcessRef.of(other.pid)
        assert ref is not None
        ProcessRef(other.pid, ref.start - 1).kill()
        assert ref.alive()
        other.communicate()


def test_a_lab_that_was_never_brought_up_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LIFEBOAT_LABS_DIR", str(tmp_path))
    with pytest.raises(LabError, match="lab up --name other"):
        Lab.load("other")


def test_the_lock_keeps_a_second_command_out_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LIFEBOAT_LABS_DIR", str(tmp_path))
    said: list[str] = []
    with (
        Lab.lock("x"),
        pytest.raises(LabError, match="another command"),
        Lab.lock("x", seconds=0.2, report=said.append),
    ):
        pass
    assert "waiting" in said[0]
    with Lab.lock("x", seconds=0.2):
        pass


def test_a_driver_is_loaded_after_what_it_depends_on(tmp_path: Path):
    (tmp_path / "modules.dep").write_text(
        "net/virtio_net.ko: net/net_failover.ko core/failover.ko drv/virtio.ko drv/virtio_ring.ko\n"
        "net/net_failover.ko: core/failover.ko\ncore/failover.ko:\n"
        "drv/virtio.ko: drv/virtio_ring.ko\ndrv/virtio_ring.ko:\n"
        "drv/virtio_pci.ko.xz: drv/virtio.ko drv/virtio_ring.ko\ndrv/virtio_blk.ko: drv/virtio.ko drv/virtio_ring.ko\n"
        "drv/virtio_balloon.ko: drv/virtio.ko drv/virtio_ring.ko\nacpi/button.ko:\n"
    )
    (tmp_path / "modules.builtin").write_text("kernel/drivers/input/evdev.ko\n")
    order = [path.name.split(".")[0] for path in initramfs.drivers(tmp_path)]
    assert len(order) == len(set(order))
    for earlier, later in (
        ("virtio_ring", "virtio"), ("virtio", "virtio_pci"), ("failover", "net_failover"),
        ("net_failover", "virtio_net"),
    ):  # fmt: skip
        assert order.index(earlier) < order.index(later)
    assert "evdev" not in order  # built in


def test_a_kernel_without_a_driver_is_named(tmp_path: Path):
    (tmp_path / "modules.dep").write_text("")
    (tmp_path / "modules.builtin").write_text("")
    with pytest.raises(LabError, match="virtio_pci"):
        initramfs.drivers(tmp_path)


def test_cpio_is_what_cpio_reads(tmp_path: Path):
    cpio = shutil.which("cpio")
    if not cpio:
        pytest.skip("no cpio here")
    archive = initramfs.cpio({"bin/tool": (b"#!", 0o755), "etc/name": (b"x" * 1001, 0o644)})
    subprocess.run(
        [cpio, "-id", "--no-absolute-filenames", "--nonmatching", "dev/console"],
        input=archive, cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    assert (tmp_path / "etc/name").read_bytes() == b"x" * 1001
    assert os.access(tmp_path / "bin/tool", os.X_OK)
