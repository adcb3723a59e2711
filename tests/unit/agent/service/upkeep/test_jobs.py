"""What is done beside passes is counted as it begins and ends; what fails there costs no pass."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from scenes.simulated_world import POLICY, World
from structlog.testing import capture_logs

from agent.approve.approvers import DenyingApprover
from agent.cli.run import said_when_not_written
from agent.plan.solver import plan as solve
from agent.service.control_loop import ControlLoop, PassOutcome
from agent.service.observability.job_metrics import JobMetrics
from agent.service.upkeep.archive_checks import EVERY, MOST, ArchiveChecks
from agent.service.upkeep.hindsight import HindsightKeeper
from agent.service.upkeep.housekeeping import Housekeeping
from agent.service.upkeep.jobs import JobCounts
from agent.service.upkeep.retraining import Retraining
from agent.settings import KeepSettings, Settings
from tools.clock import VirtualClock


class Work:
    exitcode: int | None = None

    def terminate(self) -> None:
        self.exitcode = -15


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.journal.close()


@pytest.fixture
def jobs() -> JobCounts:
    return JobCounts()


def counted(jobs: JobCounts, job: str) -> tuple[int, int, int]:
    """How often it began, was done, and failed, as `/metrics` has it."""
    registry = CollectorRegistry()
    registry.register(JobMetrics(jobs))
    values = [registry.get_sample_value("lifeboat_jobs_begun_total", {"kind": job})]
    values += [
        registry.get_sample_value("lifeboat_jobs_ended_total", {"kind": job, "outcome": outcome})
        for outcome in ("done", "failed")
    ]
    return tuple(int(value) for value in values if value is not None)  # type: ignore[return-value]


def test_a_retraining_is_under_way_until_its_process_ends(world: World, jobs: JobCounts) -> None:
    history = world.directory / "history"
    history.mkdir()
    (history / "nodes-2026-01-01.parquet").touch()
    settings = Settings.model_validate({"state_dir": str(world.directory), "forecast": {"retrain": "7d", "model": "m"}})
    work = Work()
    retraining = Retraining(settings, world.fleet.clock, lambda _: work, jobs=jobs)
    retraining.check()
    assert counted(jobs, "retraining") == (1, 0, 0)
    work.exitcode = 1
    retraining.check()
    assert counted(jobs, "retraining") == (1, 0, 1)


def test_rounds_of_reading_archives_count_and_one_that_is_given_up_has_failed(world: World, jobs: JobCounts) -> None:
    clock, works = world.fleet.clock, list[Work]()

    def start(_: Settings) -> Work:
        works.append(Work())
        return works[-1]

    checks = ArchiveChecks(Settings(), world.journal, clock, start=start, jobs=jobs)
    checks.look()
    works[-1].exitcode = 0
    clock.sleep(EVERY.total_seconds())
    checks.look()
    assert counted(jobs, "archive-checks") == (2, 1, 0)
    clock.sleep(MOST.total_seconds())
    checks.look()
    assert counted(jobs, "archive-checks") == (3, 1, 1)


def test_files_that_can_not_be_removed_are_a_failure_and_the_next_time_may_do(jobs: JobCounts, tmp_path: Path) -> None:
    clock = VirtualClock()
    housekeeping = Housekeeping(tmp_path, KeepSettings(reports=timedelta(hours=1)), clock, jobs=jobs)
    undeletable = tmp_path / "reports/evac-1.html"
    undeletable.mkdir(parents=True)  # whoever the tests run as
    clock.set_wall_clock(timedelta(days=3650))
    housekeeping.tidy()
    assert counted(jobs, "housekeeping") == (1, 0, 1)
    undeletable.rmdir()
    clock.sleep(7 * 3600)
    housekeeping.tidy()
    assert counted(jobs, "housekeeping") == (2, 1, 1)


def test_hindsight_that_meets_a_fault_keeps_no_node_from_being_emptied(
    world: World, jobs: JobCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("agent.service.upkeep.hindsight.evidence", broken)
    loop = ControlLoop(
        hands=world.hands, policy=POLICY, look=lambda: (world.snapshot(), world.risks()), planner=solve,
        approver=DenyingApprover(), hindsight=HindsightKeeper(world.journal, jobs),
    )  # fmt: skip
    with capture_logs() as lines:
        assert loop.run_once().outcome is PassOutcome.EVACUATED
    assert counted(jobs, "hindsight") == (1, 0, 1)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["hindsight-failed"]


def test_a_report_that_finds_no_room_is_said_in_one_line(tmp_path: Path) -> None:
    with capture_logs() as lines, said_when_not_written(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "reports/evac-1.html"))
    (line,) = lines
    assert (line["event"], line["message"]) == (
        "report-not-written",
        f"{tmp_path}/reports/evac-1.html: No space left on device",
    )
