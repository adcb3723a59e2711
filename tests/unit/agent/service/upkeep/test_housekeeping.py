"""State that would grow without end is kept for as long as the settings say; what is not lifeboat's to shorten stays."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.service.upkeep.housekeeping import EVERY, Housekeeping
from agent.settings import KeepSettings
from tools.clock import VirtualClock

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CONVERSATION = "ab" * 32


def files(state: Path) -> set[str]:
    return {str(path.relative_to(state)) for path in state.rglob("*") if path.is_file()}


def make(state: Path, name: str, *, days_old: float = 0.0) -> None:
    path = state / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    at = (NOW - timedelta(days=days_old)).timestamp()
    os.utime(path, (at, at))


def test_old_reports_conversations_and_days_go_and_nothing_else_does(tmp_path: Path) -> None:
    old = {"reports/evac-1.html", f"llm/{CONVERSATION}.json", "history/nodes-2026-03-01.parquet"}
    for name in old:
        make(tmp_path, name, days_old=92)
    kept = {
        "reports/evac-2.html", f"llm/{CONVERSATION[::-1]}.json", "history/nodes-2026-05-30.parquet",
        "history/events-2026-05-30.parquet",
    }  # fmt: skip
    for name in kept:
        make(tmp_path, name, days_old=2)
    others = {
        "journal.sqlite", "history/state.npz", "llm/endpoints.json", "llm/tokens.json", "archive-signing.key",
        "reports/mine.txt",
    }  # fmt: skip
    for name in others:
        make(tmp_path, name, days_old=900)
    keep = KeepSettings(reports=timedelta(days=30), conversations=timedelta(days=30), history=timedelta(days=60))

    removed = Housekeeping(tmp_path, keep, VirtualClock(NOW)).tidy()

    assert removed == len(old)
    assert files(tmp_path) == kept | others


def test_it_is_done_now_and_then_not_in_every_pass(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    housekeeping = Housekeeping(tmp_path, KeepSettings(reports=timedelta(hours=1)), clock)
    housekeeping.tidy()
    make(tmp_path, "reports/evac-1.html", days_old=1)

    assert housekeeping.tidy() == 0
    clock.sleep(EVERY.total_seconds())

    assert housekeeping.tidy() == 1


def test_a_state_folder_without_any_of_it_is_fine(tmp_path: Path) -> None:
    assert Housekeeping(tmp_path / "not-there-yet", KeepSettings(), VirtualClock(NOW)).tidy() == 0
