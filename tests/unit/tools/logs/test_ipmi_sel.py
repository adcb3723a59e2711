"""The BMC's event log through ipmitool, which here is a script that answers as the real one does."""

from __future__ import annotations

import json
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.errors import HardwareLogUnavailable
from models.risk.witness import Witness
from tools.logs.ipmi_sel import SystemEventLog
from tools.logs.sel.records import parse_stamp

SINCE = datetime.now(UTC) - timedelta(days=3)


class FakeIpmitool:
    """An `ipmitool` first on PATH; writes down its arguments and environment."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.now = datetime.now(UTC).replace(microsecond=0)  # of this test: the suite may have begun minutes ago
        script = directory / "ipmitool"
        script.write_text(
            f"#!{sys.executable}\n"
            "import json, os, pathlib, sys, time\n"
            f"here = pathlib.Path({str(directory)!r})\n"
            "with open(here / 'calls', 'a') as f: f.write(json.dumps([sys.argv, os.environ.get('IPMI_PASSWORD')]) + '\\n')\n"
            "while (here / 'hang').exists(): time.sleep(0.02)\n"
            "if (here / 'fail').exists(): sys.exit((here / 'fail').read_text())\n"
            "print((here / ('clock' if sys.argv[-2:] == ['time', 'get'] else 'records')).read_text(), end='')\n"
            "print((here / 'stderr').read_text() if (here / 'stderr').exists() else '', end='', file=sys.stderr)\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
        self.clock(self.now)
        self.records()

    def clock(self, at: datetime) -> None:
        (self.directory / "clock").write_text(at.strftime("%m/%d/%y %H:%M:%S GMT"))

    def records(self, *records: tuple[datetime, str]) -> None:
        lines = [f"{n},{at:%m/%d/%y},{at:%H:%M:%S} GMT,{rest}" for n, (at, rest) in enumerate(records, 1)]
        (self.directory / "records").write_text("\n".join(lines) + "\n" if lines else "")

    def calls(self) -> list[tuple[list[str], str | None]]:
        return [(call[0], call[1]) for call in map(json.loads, (self.directory / "calls").read_text().splitlines())]


@pytest.fixture
def ipmitool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIpmitool:
    return FakeIpmitool(tmp_path, monkeypatch)


VOLTAGE = "Voltage PSU1 12V Out,Lower Critical going low ,Asserted,Reading 10.76 < Threshold 10.80 Volts"


def test_records_become_events(ipmitool: FakeIpmitool) -> None:
    at = ipmitool.now - timedelta(minutes=5)
    ipmitool.records(
        (at, VOLTAGE),
        (at + timedelta(seconds=2), "Power Supply PSU1 Status,Failure detected,Asserted"),
        (at + timedelta(seconds=9), "Fan Fan2,Lower Critical going low ,Deasserted,Reading 5000 > Threshold 1200 RPM"),
        (at, "Event Logging Disabled SEL,Log area reset/cleared,Asserted"),
        (at - timedelta(days=9), VOLTAGE),
    )
    found = SystemEventLog("node-a", "10.0.0.1").events(since=SINCE)
    assert [(e.kind.value, e.severity.value, e.part, e.asserted) for e in found] == [
        ("voltage", "critical", "PSU1_12V_Out", True),
        ("power-supply", "critical", "PSU1_Status", True),
        ("fan", "critical", "Fan2", False),
    ]
    assert found[0].time == at
    assert {e.witness for e in found} == {Witness.BMC_LOG}


def test_an_empty_log_has_no_events(ipmitool: FakeIpmitool) -> None:
    assert SystemEventLog("node-a", "10.0.0.1").events(since=SINCE) == []


def test_the_password_is_never_on_the_command_line(
    ipmitool: FakeIpmitool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    SystemEventLog("node-a", "10.0.0.1", port=6230, user="ops", password_file=secret).events(since=SINCE)
    monkeypatch.setenv("IPMI_PASSWORD", "hunter2")
    SystemEventLog("node-a", "10.0.0.1", user="ops").events(since=SINCE)
    arguments = [" ".join(call) for call, _ in ipmitool.calls()]
    assert not any("hunter2" in call for call in arguments)
    assert f"-p 6230 -N 1 -R 1 -U ops -f {secret}" in arguments[0]
    assert arguments[-1].endswith("-U ops -E -c -Z sel elist")
    assert ipmitool.calls()[-1][1] == "hunter2"


def test_a_bmc_that_lost_its_clock_is_corrected(ipmitool: FakeIpmitool) -> None:
    lost = datetime(2001, 1, 1, 0, 10, tzinfo=UTC)
    ipmitool.clock(lost)
    ipmitool.records((lost - timedelta(minutes=5), VOLTAGE))
    (event,) = SystemEventLog("node-a", "10.0.0.1").events(since=SINCE)
    assert abs((ipmitool.now - timedelta(minutes=5)) - event.time) < timedelta(seconds=60)


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=27 * 365)])
def test_a_clock_set_wrong_between_two_looks_hides_no_record(
    ipmitool: FakeIpmitool, ahead: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.logs.ipmi_sel.PATIENCE_SECONDS", 30.0)  # a busy machine's, not a slow BMC's
    before = ipmitool.now - timedelta(hours=2)
    ipmitool.records((before, VOLTAGE))
    log = SystemEventLog("node-a", "10.0.0.1")
    assert [event.time for event in log.events(since=SINCE)] == [before]
    fresh = "Memory Mem ECC,Uncorrectable ECC,Asserted"
    ipmitool.clock(ipmitool.now + ahead)
    ipmitool.records((before, VOLTAGE), (ipmitool.now + ahead, fresh))
    old, new = log.events(since=SINCE)
    assert old.time == before, "what was written before keeps its time"
    assert new.kind.value == "memory-uncorrected"
    assert abs(new.time - ipmitool.now) < timedelta(seconds=60)
    assert any("clock is" in doubt for doubt in log.doubts())


def test_a_record_whose_date_cannot_be_is_new_only_once(ipmitool: FakeIpmitool) -> None:
    ipmitool.records((ipmitool.now + timedelta(days=9000), VOLTAGE))  # while the clock is right again
    log = SystemEventLog("node-a", "10.0.0.1")
    (first,) = log.events(since=SINCE)
    (again,) = log.events(since=SINCE)
    assert abs(first.time - ipmitool.now) < timedelta(seconds=60)
    assert again.time == first.time


def test_a_failure_says_which_bmc_and_why(ipmitool: FakeIpmitool, tmp_path: Path) -> None:
    (tmp_path / "fail").write_text("Error: Unable to establish IPMI v2 / RMCP+ session")
    with pytest.raises(
        HardwareLogUnavailable, match=r"10\.0\.0\.1 of node 'node-a'.*Unable to establish.*bmc\.address"
    ):
        SystemEventLog("node-a", "10.0.0.1").events(since=SINCE)


def test_without_ipmitool_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HardwareLogUnavailable, match="install the package ipmitool"):
        SystemEventLog("node-a", "10.0.0.1").events(since=SINCE)


def test_a_bmc_gone_silent_holds_nobody_up_and_its_last_answer_stands_for_a_while(
    ipmitool: FakeIpmitool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.logs.ipmi_sel.PATIENCE_SECONDS", 0.1)
    ipmitool.records((ipmitool.now - timedelta(minutes=5), VOLTAGE))
    log = SystemEventLog("node-a", "10.0.0.1")
    assert len(log.events(since=SINCE)) == 1
    (tmp_path / "hang").touch()
    try:
        assert len(log.events(since=SINCE)) == 1
        before = threading.active_count()
        assert len(log.events(since=SINCE)) == 1
        assert threading.active_count() == before, "the question that hangs is not asked again"
        monkeypatch.setattr("tools.logs.ipmi_sel.TRUSTED_SECONDS", 0.0)
        with pytest.raises(HardwareLogUnavailable, match="has not answered"):
            log.events(since=SINCE)
    finally:
        (tmp_path / "hang").unlink()


def test_after_a_slow_choice_of_cipher_the_same_one_is_used_again(ipmitool: FakeIpmitool, tmp_path: Path) -> None:
    (tmp_path / "stderr").write_text("Unable to Get Channel Cipher Suites\n")
    log = SystemEventLog("node-a", "10.0.0.1")
    log.events(since=SINCE)
    log.events(since=SINCE)
    first, second = (call for call, _ in ipmitool.calls())
    assert "-C" not in first
    assert second[second.index("-C") + 1] == "3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("11/23/26 05:09:29 GMT", datetime(2026, 11, 23, 5, 9, 29, tzinfo=UTC)),
        ("11/23/2026 05:09:29", datetime(2026, 11, 23, 5, 9, 29, tzinfo=UTC)),
        ("11/23/2026 | 05:09:29", None),
        # The locale's dates, which newer ones print.
        ("11/23/2026 09:09:29 PM PST", datetime(2026, 11, 24, 5, 9, 29, tzinfo=UTC)),
        ("11/23/2026 12:09:29 AM UTC", datetime(2026, 11, 23, 0, 9, 29, tzinfo=UTC)),
        ("23.11.2026 06:09:29 CET", datetime(2026, 11, 23, 5, 9, 29, tzinfo=UTC)),
        ("23/11/26 05:09:29 UTC", datetime(2026, 11, 23, 5, 9, 29, tzinfo=UTC)),
        ("2026-11-23 05:09:29", datetime(2026, 11, 23, 5, 9, 29, tzinfo=UTC)),
        ("2026年11月23日 14時09分29秒 JST", datetime(2026, 11, 23, 5, 9, 29, tzinfo=UTC)),
        ("2026/11/23 下午 05:09:29", datetime(2026, 11, 23, 17, 9, 29, tzinfo=UTC)),
        ("Nov-23-2026 05:09:29", datetime(2026, 11, 23, 5, 9, 29, tzinfo=UTC)),
        ("Pre-Init 0000000012", None),
        ("13/41/2026 05:09:29", None),
        ("", None),
    ],
)
def test_stamps(text: str, expected: datetime | None) -> None:
    assert parse_stamp(text) == expected
