"""Trouble around a `lifeboat run` that is a process of its own: each is one line, it goes on, and no guest is lost or doubled.

SIMULATED nodes. A small tmpfs stands for the disk under its state, which needs root.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scenes.command_line import lifeboat
from scenes.run_process import failing_memory, lifeboat_run, telemetry, write_settings
from scenes.small_disk import fill, small_disk
from scenes.stub_prometheus import stub_prometheus

from tools.journal.sqlite import SqliteJournal
from tools.ports.records.attempts import AttemptEnded, AttemptIntended

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="mounts")]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB where the state lies."""
    with small_disk(tmp_path / "state", kilobytes=16 << 10) as disk:
        yield disk


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def journal_of(disk: Path) -> SqliteJournal:
    return SqliteJournal(disk / "journal.sqlite")


def test_each_trouble_is_said_in_one_line_and_the_agent_goes_on(disk: Path, tmp_path: Path) -> None:
    ahead, port = [timedelta(0)], free_port()
    with stub_prometheus(telemetry, clock=lambda: datetime.now(UTC) + ahead[0]) as prometheus:
        model = tmp_path / "model"
        more = {"status": {"port": port}, "forecast": {"model": str(model)}, "interval": "2s"}
        settings = write_settings(tmp_path, prometheus.url, **more)
        elsewhere = write_settings(tmp_path / "elsewhere", prometheus.url, status={"port": port})
        with lifeboat_run(settings) as run:
            run.until_said("pass", outcome="quiet")

            code, said = lifeboat("run", "--config", str(elsewhere))
            assert (code, f"status.port {port} can't be listened on: Address already in use" in said) == (2, True)
            code, said = lifeboat("run", "--config", str(settings))
            assert (code, f"another `lifeboat run` (pid {run.process.pid})" in said) == (2, True)

            assert "No such file" in run.until_said("forecast-not-used", what="learned forecast")["why"]
            model.write_text("not what it was")
            run.until(
                lambda: any("No such file" not in line["why"] for line in run.lines("forecast-not-used")),
                "word of a model file that is broken now",
            )

            ahead[0] = timedelta(hours=1)
            failed = run.until_said("pass-failed", code="metrics-unavailable")["message"]
            assert "ahead of this machine's" in failed
            ahead[0] = timedelta(0)
            run.until_said("pass-works-again", code="metrics-unavailable")

            as_it_was = settings.read_text()
            settings.write_text(json.dumps({**json.loads(as_it_was), "of_a_newer_version": 1}))
            run.reload()
            refused = run.until_said("reload-refused")["message"]
            assert f"{settings}: of_a_newer_version: not known here" in refused
            settings.write_text(as_it_was)

            filler = fill(disk)
            (tmp_path / "a.log").write_text(failing_memory("a"))
            # The journal, or every five minutes the ring first: it depends on when the disk is full.
            run.until(
                lambda: any("can't be written" in line["message"] for line in run.lines("pass-failed")),
                "word of a full disk",
            )
            with closing(journal_of(disk)) as journal:
                assert journal.of(AttemptIntended) == [], "nothing is begun that can't be written down"
            filler.unlink()
            run.until_said("verified", passed=True)
            run.end()
    with closing(journal_of(disk)) as journal:
        assert journal.verify() > 0
        assert [entry.record.attempt.outcome for entry in journal.of(AttemptEnded)] == ["done"]
