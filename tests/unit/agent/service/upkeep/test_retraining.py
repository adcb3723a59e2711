"""When `lifeboat run` trains a challenger: as often as the settings say, one at a time, and never in the way of a pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from structlog.testing import capture_logs

from agent.service.upkeep.retraining import Retraining
from agent.settings import Settings
from tools.journal import open_journal
from tools.ports.records.forecasts import ModelChallenged

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class At:
    """A clock that is set."""

    at: datetime = NOW

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class Work:
    exitcode: int | None = None


def retraining(
    state: Path, clock: At, every: str | None = "7d", *, history: bool = True
) -> tuple[Retraining, list[Work]]:
    settings = Settings.model_validate(
        {"state_dir": str(state), "forecast": {"retrain": every, "model": str(state / "m")}}
    )
    started: list[Work] = []
    if history:
        keep_some_history(state)

    def start(_: Settings) -> Work:
        started.append(Work())
        return started[-1]

    return Retraining(settings, clock, start), started


def keep_some_history(state: Path) -> None:
    (state / "history").mkdir(parents=True)
    (state / "history" / "nodes-2026-02-01.parquet").touch()


def test_one_at_a_time_and_again_when_it_is_due(tmp_path: Path) -> None:
    clock = At()
    job, started = retraining(tmp_path, clock)
    job.check()
    clock.at += timedelta(days=8)
    job.check()
    assert len(started) == 1, "the first is still at work"
    started[0].exitcode = 0
    job.check()
    assert len(started) == 2


def test_one_that_fails_is_not_tried_again_at_once(tmp_path: Path) -> None:
    clock = At()
    job, started = retraining(tmp_path, clock)
    job.check()
    started[0].exitcode = 1
    clock.at += timedelta(hours=1)
    job.check()
    assert len(started) == 1
    clock.at += timedelta(days=7)
    job.check()
    assert len(started) == 2


def test_a_restart_does_not_train_anew(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(ModelChallenged(file="m", before="", after=None, why="few"), now=NOW - timedelta(days=3))
    journal.close()
    clock = At()
    job, started = retraining(tmp_path, clock)
    job.check()
    assert not started
    clock.at += timedelta(days=4)
    job.check()
    assert len(started) == 1


def test_nothing_is_trained_where_nobody_asked_for_it(tmp_path: Path) -> None:
    job, started = retraining(tmp_path, At(), every=None)
    job.check()
    assert not started


def test_without_a_history_it_is_said_once_that_it_waits_and_it_begins_as_soon_as_there_is_one(tmp_path: Path) -> None:
    clock = At()
    job, started = retraining(tmp_path, clock, history=False)
    with capture_logs() as told:
        for _ in range(5):
            job.check()
            clock.at += timedelta(days=8)
        assert not started
        keep_some_history(tmp_path)
        job.check()
    assert [(each["log_level"], each["event"]) for each in told] == [("info", "retraining-waits")]
    assert len(started) == 1
