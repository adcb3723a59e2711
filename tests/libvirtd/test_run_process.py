"""`lifeboat run` as a process of its own on two real libvirtds, told to stop in the middle of its work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scenes.stub_prometheus import Reply, constant, matrix, stub_prometheus
from scenes.two_libvirtds import TwoLibvirtds, until

from agent.actions.runner import needs_recovery
from agent.state.requests import unfinished
from tools.archive.store import FsspecArchiveStore
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.attempts import AttemptEnded, ShutdownIntended

pytestmark = pytest.mark.libvirtd


def telemetry(parameters: Mapping[str, str]) -> Reply:
    """Both nodes report a temperature that is none to worry about."""
    if "hwmon_temp" not in parameters.get("query", "") or "step" not in parameters:
        return matrix()
    return constant(*(({"instance": node, "chip": "cpu", "sensor": "temp1"}, "40") for node in "ab"))(parameters)


def failing_memory() -> str:
    """What a kernel logs when its memory goes: eight errors nobody can correct, the last two minutes ago."""
    lines: list[str] = []
    for minute in range(8):
        at = (datetime.now(UTC) - timedelta(minutes=9 - minute)).isoformat(timespec="seconds")
        where = "on CPU_SrcID#0_MC#0_Chan#0_DIMM#0 (channel:0 slot:0 page:0x0 offset:0x0 grain:32 syndrome:0x0)"
        lines.append(f"{at} a kernel: EDAC MC0: 1 UE memory read error {where}\n")
    return "".join(lines)


@pytest.fixture
def configured(two: TwoLibvirtds, tmp_path: Path) -> Iterator[Path]:
    """The settings file of a lifeboat whose node a is about to fail, and whose policy lets it act by itself."""
    (tmp_path / "a.log").write_text(failing_memory())
    (tmp_path / "b.log").write_text("")
    policy = {
        "approval": dict.fromkeys(("live_migrate", "cold_migrate", "cold_archive"), "auto"),
        "stopping": {"witnesses": 1},  # the kernel's log is all there is
    }
    (tmp_path / "policy.yaml").write_text(json.dumps(policy))
    with stub_prometheus(telemetry) as stub:
        settings = {
            "nodes": [
                {"name": node.name, "libvirt_uri": node.uri, "hardware_logs": [str(tmp_path / f"{node.name}.log")]}
                for node in (two.a, two.b)
            ],
            "prometheus": {"url": stub.url, "scrape_interval_seconds": 5},
            "state_dir": str(tmp_path / "state"),
            "archive_url": f"file://{two.directory}/archives",
            "policy_file": str(tmp_path / "policy.yaml"),
            "interval": "1h",
        }
        (tmp_path / "lifeboat.yaml").write_text(json.dumps(settings))
        yield tmp_path / "lifeboat.yaml"


def journal_shows(settings: Path, shows: Callable[[SqliteJournal], object]) -> bool:
    file = settings.parent / "state" / "journal.sqlite"
    if not file.exists():
        return False
    journal = SqliteJournal(file)
    try:
        return bool(shows(journal))
    finally:
        journal.close()


MOMENTS: dict[str, Callable[[TwoLibvirtds, str, Path], bool]] = {
    "while its guest is asked to stop": lambda two, vm, settings: journal_shows(
        settings, lambda journal: journal.of(ShutdownIntended)
    ),
    "once its guest is off": lambda two, vm, settings: two.running_on(vm) == [],
}


@pytest.mark.parametrize("when", MOMENTS)
def test_told_to_stop_during_an_archive_it_gives_the_guest_back_before_it_ends(
    two: TwoLibvirtds, vm: str, configured: Path, when: str
) -> None:
    two.a.make_image(f"{vm}.img", noise_mib=128)  # long enough to archive that a signal comes in the middle
    two.run_guest(vm, two.definition(vm, two.disk(f"{vm}.img")), image=f"{vm}.img")
    with (configured.parent / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from agent.cli.main import main; main()", "run", "--config", str(configured)],
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: MOMENTS[when](two, vm, configured), "beginning of the archive", seconds=300)
        process.send_signal(signal.SIGTERM)
        code = process.wait(240)
    finally:
        process.kill()
    said = (configured.parent / "output").read_text()
    assert code == 0, said
    assert "Traceback" not in said
    journal = SqliteJournal(configured.parent / "state" / "journal.sqlite")
    try:
        journal.verify()
        assert not needs_recovery(journal), "the next start has nothing to end"
        assert unfinished(journal) == []
        (ended,) = journal.of(AttemptEnded)
    finally:
        journal.close()
    attempt = ended.record.attempt
    store = FsspecArchiveStore(
        f"file://{two.directory}/archives", key_file=configured.parent / "state/archive-signing.key"
    )
    archives = [store.verify(entry.id).vm_name for entry in store.entries()]
    assert (attempt.outcome, two.running_on(vm), archives) in (
        ("cancelled", ["a"], []),
        ("done", [], [vm]),  # it was past the point where it can be cancelled
    )
