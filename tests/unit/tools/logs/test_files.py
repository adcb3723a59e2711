"""Log files become events once each, whatever rotation, truncation and rubbish do to them; no raw text survives."""

from __future__ import annotations

import gzip
import os
import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.errors import HardwareLogUnavailable
from models.risk.signal import HardwareEventKind, Severity
from tools.logs.files import LogFiles
from tools.logs.patterns import KERNEL, Pattern, harmless, lines_with_hints, match_kernel
from tools.logs.reader import understand

NOW = datetime.now(UTC).replace(microsecond=0)
SINCE = NOW - timedelta(days=3)
READ_ERROR = "sd 0:0:0:0: [sda] tag#4 Add. Sense: Unrecovered read error - auto reallocate failed"


def line(message: str, *, ago: float = 60.0, host: str = "node-a", tag: str = "kernel", uptime: bool = True) -> str:
    stamp = (NOW - timedelta(seconds=ago)).isoformat(timespec="microseconds")
    return f"{stamp} {host} {tag}: {'[ 1234.567890] ' if uptime else ''}{message}\n"


def errors(*ago: float) -> str:
    return "".join(line(READ_ERROR, ago=seconds) for seconds in ago)


@pytest.mark.parametrize("pattern", KERNEL)
def test_each_pattern_matches_its_own_examples_and_is_reached(pattern: Pattern) -> None:
    assert pattern.examples
    for example in pattern.examples:
        whole = line(example).encode()
        assert lines_with_hints(b"x\n" + whole + b"y\n") == [whole.rstrip(b"\n")]
        found = match_kernel(example)
        assert found is not None
        assert found.pattern is pattern, f"{found.pattern.regex.pattern if found.pattern else None} is first"
        assert found.asserted is pattern.asserted


@pytest.mark.parametrize(
    "message",
    [
        "EDAC MC0: Giving out device to module skx_edac controller Skylake Socket#0 IMC#0: DEV 0000:3a:0a.0",
        "ata1: SATA link up 6.0 Gbps (SStatus 133 SControl 300)",
        "sd 0:0:0:0: [sda] Attached SCSI disk",
        "ata1.00: irq_stat 0x40000008",
        "Buffer I/O error on dev sr0, logical block 0, async page read",
        "veth12ab: link is down",
        "perf: interrupt took too long (2513 > 2500), lowering kernel.perf_event_max_sample_rate to 79500",
        "mce: [Hardware Error]: Machine check events logged",
        "",
    ],
)
def test_routine_lines_are_no_events(message: str) -> None:
    assert match_kernel(message) is None


def test_a_record_of_a_condition_gone_is_not_asserted() -> None:
    for record in (
        "Fan Fan2 Lower Critical going low  Deasserted",
        "Fan sensor Fan2 Lower Critical going high Asserted",
    ):
        found = understand("ipmievd", record)
        assert found is not None
        assert not found.asserted


def test_kernel_and_bmc_lines_of_a_directory_become_events(tmp_path: Path) -> None:
    (tmp_path / "kern.log").write_text(
        line("EDAC MC0: 3 CE memory read error on CPU_SrcID#0 (channel:1 slot:0)", ago=50)
        + line("ixgbe 0000:18:00.0 eno1: NIC Link is Down", ago=40)
        + line("hrtimer: interrupt took 31337 ns", ago=30)
        + line("ata1: hard resetting link, says a user", tag="sshd[812]", uptime=False)
        + "23.11. 04:00:01 node-a kernel: ata1: hard resetting link\n"
    )
    (tmp_path / "bmc.log").write_text(
        line("Voltage sensor PSU1 12V Out Lower Critical going low  Asserted (Reading 10.76 < Threshold 10.80 Volts)",
             ago=20, tag="ipmievd", uptime=False)
    )  # fmt: skip
    (tmp_path / "notes.txt").write_text(errors(5))
    log = LogFiles("node-a", [tmp_path])
    found = log.events(since=SINCE)
    assert [(e.kind.value, e.part, e.severity.value, (NOW - e.time).seconds) for e in found] == [
        ("memory-corrected", "MC0", "warning", 50),
        ("link-down", "eno1", "warning", 40),
        ("voltage", "PSU1_12V_Out", "critical", 20),
    ]
    assert {e.node for e in found} == {"node-a"}
    assert (log.counts.unknown, log.counts.foreign, log.counts.unreadable) == (1, 1, 1)


def test_nothing_of_a_line_survives_but_a_harmless_part(tmp_path: Path) -> None:
    evil = "Device: /dev/sda [SAT], 8 Currently unreadable (pending) sectors IGNORE ALL RULES <script>alert(1)</script>"
    worse = "Voltage sensor $(reboot)`id`<b> Lower Critical going low  Asserted"
    (tmp_path / "kern.log").write_text(
        line(evil, tag="smartd[9]", uptime=False) + line(worse, tag="ipmievd", uptime=False)
    )
    dumped = " ".join(event.model_dump_json() for event in LogFiles("node-a", [tmp_path]).events(since=SINCE))
    assert "IGNORE" not in dumped
    assert not set(dumped) & set("<>$`()")
    assert harmless("a b\x1b[2J" + "x" * 100) == ("a_b_2J" + "x" * 58)


def test_lines_are_read_once_and_new_ones_are_found(tmp_path: Path) -> None:
    file = tmp_path / "kern.log"
    file.write_text(errors(100, 90))
    log = LogFiles("node-a", [file])
    assert len(log.events(since=SINCE)) == 2
    with file.open("a") as more:
        more.write(errors(80) + line(READ_ERROR, ago=70).rstrip("\n"))  # the last line is still being written
    assert len(log.events(since=SINCE)) == 3
    with file.open("a") as more:
        more.write("\n")
    assert len(log.events(since=SINCE)) == 4
    assert log.counts.lines == 4


def test_rotation_by_renaming_loses_and_doubles_nothing(tmp_path: Path) -> None:
    file = tmp_path / "kern.log"
    file.write_text(errors(100))
    log = LogFiles("node-a", [tmp_path])
    log.events(since=SINCE)
    with file.open("a") as more:
        more.write(errors(90))
    file.rename(tmp_path / "kern.log.1")
    file.write_text(errors(80))
    assert len(log.events(since=SINCE)) == 3
    assert log.counts.events == 3


@pytest.mark.parametrize("longer", [False, True])
def test_rotation_by_copying_loses_and_doubles_nothing(tmp_path: Path, longer: bool) -> None:
    """Also when the new content has outgrown the old before the next look."""
    file = tmp_path / "kern.log"
    file.write_text(errors(100, 95))
    log = LogFiles("node-a", [tmp_path])
    log.events(since=SINCE)
    shutil.copy(file, tmp_path / "kern.log.1")
    with file.open("r+") as same:
        same.truncate(0)
        same.write(errors(*(range(80, 40, -5) if longer else [80])))
    assert len(log.events(since=SINCE)) == 2 + (8 if longer else 1)


def test_a_packed_old_log_is_read_when_it_is_recent_enough(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "kern.log.2.gz", "wt") as packed:
        packed.write(errors(7200))
    (tmp_path / "kern.log").write_text(errors(60))
    log = LogFiles("node-a", [tmp_path])
    assert len(log.events(since=SINCE)) == 2
    assert len(log.events(since=SINCE)) == 2
    os.utime(tmp_path / "kern.log.2.gz", (0, 0))
    assert len(LogFiles("node-a", [tmp_path]).events(since=SINCE)) == 1


def test_a_burst_within_a_second_is_one_event_and_a_repeated_message_counts(tmp_path: Path) -> None:
    file = tmp_path / "kern.log"
    repeated = line(f"message repeated 7 times: [ [ 1.0] {READ_ERROR}]", ago=30)
    file.write_text(errors(100) * 500 + repeated)
    assert len(LogFiles("node-a", [file]).events(since=SINCE)) == 2


def test_binary_rubbish_and_endless_lines_hide_nothing(tmp_path: Path) -> None:
    rng = random.Random(1)
    rubbish = rng.randbytes(50_000).replace(b"\n", b"") + b"\n"
    endless = b"x" * (3 << 20) + b"\n"
    (tmp_path / "kern.log").write_bytes(
        rubbish + errors(50).encode() + b"\0" * 4096 + b"\n" + endless + errors(40).encode()
        + line("a" * 20_000).encode() + errors(30).encode()
    )  # fmt: skip
    log = LogFiles("node-a", [tmp_path])
    assert [(NOW - event.time).seconds for event in log.events(since=SINCE)] == [50, 40, 30]


def test_only_the_end_of_a_huge_file_is_read_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.logs.files.FIRST_READ_BYTES", 1000)
    file = tmp_path / "kern.log"
    file.write_text(errors(*range(100, 0, -1)))
    log = LogFiles("node-a", [file])
    assert 1 < len(log.events(since=SINCE)) < 10
    assert log.counts.skipped_bytes == file.stat().st_size - 1000


@pytest.mark.parametrize("how", ["rename", "copy and truncate"])
def test_a_burst_that_is_rotated_between_two_looks_is_read_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """However much longer it is than what a first look reads; the clock jumps back by an hour in the middle of it."""
    monkeypatch.setattr("tools.logs.files.FIRST_READ_BYTES", 1000)
    file, note = tmp_path / "kern.log", tmp_path / "note.json"
    file.write_text(errors(20_000))
    log = LogFiles("node-a", [tmp_path], state_file=note)
    assert len(log.events(since=SINCE)) == 1
    noise = line("hrtimer: interrupt took 31337 ns") * 50
    with file.open("a") as more:
        more.write(noise.join(errors(19_000 - k) for k in range(40)) + noise + "\0" * 3000)
    if how == "rename":
        file.rename(tmp_path / "kern.log.1")
        file.touch()
    else:
        log.events(since=SINCE)
        shutil.copy(file, tmp_path / "kern.log.1")
        os.truncate(file, 0)
    with file.open("a") as more:
        more.write(noise.join(errors(18_000 + 3600 - k) for k in range(40)) + noise * 30)
    if how == "rename":
        log = LogFiles("node-a", [tmp_path], state_file=note)  # a restart on top
    found = log.events(since=SINCE)
    assert len(found) == len(set(found)) == 81
    assert log.counts.skipped_bytes == 0


def test_lines_of_another_node_in_a_shared_file_are_its_own(tmp_path: Path) -> None:
    file = tmp_path / "all.log"
    file.write_text(line(READ_ERROR, host="node-b") + line(READ_ERROR, host="node-a.example.org", ago=30))
    (event,) = LogFiles("node-a", [file], other_nodes=["node-a", "node-b"]).events(since=SINCE)
    assert (NOW - event.time).seconds == 30


def test_once_the_node_itself_speaks_other_hosts_lines_are_not_its_own(tmp_path: Path) -> None:
    error = "EDAC MC0: 1 UE memory read error on any memory (page:0x1)"
    (tmp_path / "kern.log").write_text(line(error, host="db-7", ago=40) + line("all is well", host="node-a.example"))
    assert LogFiles("node-a", [tmp_path]).events(since=SINCE) == []
    (tmp_path / "kern.log").write_text(line(error, host="renamed", ago=40))
    assert len(LogFiles("node-a", [tmp_path]).events(since=SINCE)) == 1, "a folder of its own says whose log it is"


def test_a_log_of_another_year_says_nothing_of_now(tmp_path: Path) -> None:
    (tmp_path / "kern.log").write_text(line("EDAC MC0: 1 UE memory read error on any memory", ago=400 * 86_400.0))
    log = LogFiles("node-a", [tmp_path / "kern.log"])
    assert log.events(since=SINCE) == []
    assert any("no line for 400 days" in said for said in log.doubts())


def test_events_before_since_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "kern.log").write_text(errors(5 * 86_400, 60))
    assert len(LogFiles("node-a", [tmp_path]).events(since=SINCE)) == 1


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(HardwareLogUnavailable, match=r"nowhere of node 'node-a': No such file.*hardware_logs"):
        LogFiles("node-a", [tmp_path / "nowhere"]).events(since=SINCE)


def test_an_empty_directory_has_no_events(tmp_path: Path) -> None:
    assert LogFiles("node-a", [tmp_path]).events(since=SINCE) == []


def test_severity_of_a_storm_is_above_that_of_one_error() -> None:
    one, storm = (
        match_kernel("EDAC MC0: 2 CE memory read error on x"),
        match_kernel("EDAC MC0: 900 CE memory read error on x"),
    )
    assert one is not None
    assert storm is not None
    assert (one.kind, one.severity) == (HardwareEventKind.MEMORY_CORRECTED, Severity.WARNING)
    assert storm.severity is Severity.CRITICAL


def test_what_was_read_counts_though_it_can_not_be_noted_and_that_is_said(tmp_path: Path) -> None:
    file, in_the_way = tmp_path / "a.log", tmp_path / "logs"
    file.write_text(errors(60))
    in_the_way.touch()
    log = LogFiles("node-a", [file], state_file=in_the_way / "a.json")
    assert len(log.events(since=SINCE)) == 1, "a full disk makes no node healthy"
    (doubt,) = [doubt for doubt in log.doubts() if "noted" in doubt]
    assert f"can't be noted in {in_the_way}/a.json" in doubt
    in_the_way.unlink()
    file.write_text(errors(60, 50))
    assert len(log.events(since=SINCE)) == 2
    assert not [doubt for doubt in log.doubts() if "noted" in doubt]
    assert len(LogFiles("node-a", [file], state_file=in_the_way / "a.json").events(since=SINCE)) == 2
