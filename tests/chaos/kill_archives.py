"""Kill lifeboat at every durable step of a restore and of a wipe, run the same command again, and look at what is true then.

    PYTHONPATH=tests python -m chaos.kill_archives --runs 3      # every step of both, three times: minutes
    PYTHONPATH=tests python -m chaos.kill_archives --sample 8    # as the test suite does

As `kill_harness`: processes that die by SIGKILL, on SIMULATED nodes that live in a server process and go on.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from chaos.kill_harness import Found, Harness, counts, tell, wait_for
from chaos.kill_lifeboat import run_lifeboat
from chaos.kill_world import POLICY, FastClock, look, settings_yaml

from agent.actions.archive_actions import open_archive_actions
from agent.actions.runner import needs_recovery
from agent.documents import write_value
from agent.plan.solver import plan as solve
from models.errors import LifeboatError
from models.situation import Situation
from tools.archive.store import FsspecArchiveStore
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.cold import Wiped

WHATS = ("restore", "wipe")
TARGET = "c"
_IMPORTED_ONCE = ("agent.cli.archive", "agent.archives.restore", "agent.archives.wipe")


class ArchiveHarness(Harness):
    """An archive made once by a lifeboat of its own; each kill begins from a copy of that."""

    archive: str

    def prepare(self) -> None:
        for module in _IMPORTED_ONCE:
            importlib.import_module(module)
        state = self.directory / "archived"
        state.mkdir()
        self.world.reset_with_one()
        fleet, risks = look(self.nodes)
        plan = solve(Situation(fleet=fleet, risks=risks, policy=POLICY, now=FastClock().now()))
        write_value(state / "plan.json", plan)
        (state / "lifeboat.yaml").write_text(settings_yaml(state))
        arguments = ["apply", str(state / "plan.json"), "--config", str(state / "lifeboat.yaml"), "--approve-as", "ana"]
        code = wait_for(run_lifeboat(arguments, self.address, state / "made.log"))
        entries = self._store(state).entries()
        if code != 0 or len(entries) != 1:
            raise RuntimeError(f"no archive to begin with: {(state / 'made.log').read_text()[-2000:]}")
        self.archive = entries[0].id
        self.world.remember()

    def count_archive_steps(self, what: str) -> int:
        """Durable steps of one that nobody disturbs. Raises RuntimeError when that is not clean itself."""
        found = self.kill_archive_action(what, None, f"dry-{what}")
        if not found.clean:
            raise RuntimeError(f"an undisturbed {what} is not clean: {found}")
        return len((self.directory / f"dry-{what}" / "first.steps").read_text().splitlines())

    def kill_archive_action(self, what: str, step: int | None, name: str) -> Found:
        state = self.directory / name
        shutil.copytree(self.directory / "archived", state)
        (state / "lifeboat.yaml").write_text(settings_yaml(state))
        self.world.recall(forget_vm=what == "restore")
        arguments = ["archive", what, self.archive, *([TARGET] if what == "restore" else ["--yes"])]
        arguments += ["--config", str(state / "lifeboat.yaml")]
        killed = wait_for(run_lifeboat(arguments, self.address, state / "first.log", die_at=step)) == -signal.SIGKILL
        steps = (state / "first.steps").read_text().splitlines()
        began = time.monotonic()
        if killed:
            wait_for(run_lifeboat(arguments, self.address, state / "last.log"))
        seconds = round(time.monotonic() - began, 2)
        last = steps[-1] if steps else ""
        found = Found(point=f"{what} {step}", killed=killed, seconds=seconds, last_step=last)
        self._judge(found, what, state)
        if found.clean:
            shutil.rmtree(state) if step is not None else None
        return found

    def _store(self, state: Path) -> FsspecArchiveStore:
        return FsspecArchiveStore((state / "archives").as_uri(), key_file=state / "archive-signing.key")

    def _judge(self, found: Found, what: str, state: Path) -> None:
        truth, before = self.world.truth(), self.world.files_before()
        running, known = truth.running_on["whole"], truth.known_on["whole"]
        found.doubled += sorted(truth.ran_twice) + (running if len(running) > 1 else [])
        found.left_over += [*truth.stamped, *truth.arriving]
        try:
            self._store(state).verify(self.archive)
        except LifeboatError as error:
            found.lost.append(str(error))
        journal = SqliteJournal(state / "journal.sqlite")
        try:
            journal.verify()
            found.left_over += [f"lock of {attempt}" for attempt in journal.locks().values()]
            if open_archive_actions(journal) or needs_recovery(journal):
                found.wrong.append("something begun was not ended")
            wiped = journal.of(Wiped)
        except LifeboatError as error:
            found.wrong.append(str(error))
            return
        finally:
            journal.close()
        if what == "restore":
            # killed once it was defined, it stays as it was seen: perhaps not started yet
            if known != [TARGET] or running not in ([TARGET], []):
                found.lost.append(f"known on {known}, running on {running}")
            if self.world.files(TARGET) != before:
                found.wrong.append(f"its files on {TARGET} are not those of the archive")
            found.left_over += [f"{path} on {node}" for node in ("a", "b") for path in self.world.files(node)]
        else:
            if running or known != ["a"]:
                found.wrong.append(f"known on {known}, running on {running}")
            found.left_over += [path for path, content in self.world.files("a").items() if before.get(path) == content]
            if not wiped or not wiped[-1].record.complete:
                found.wrong.append("no record of a complete wipe")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--sample", type=int, help="this many steps of each, spread evenly")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    found: list[Found] = []
    steps: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="lifeboat-kill-") as made, ArchiveHarness(Path(made)) as harness:
        harness.prepare()
        for what in WHATS:
            steps[what] = harness.count_archive_steps(what)
            every = range(1, steps[what] + 1)
            if chosen.sample is not None:
                every = [round((each + 0.5) * steps[what] / chosen.sample) for each in range(chosen.sample)]
            for run in range(chosen.runs):
                for step in every:
                    found.append(harness.kill_archive_action(what, step, f"{what}-{run}-{step}"))
                    if not found[-1].clean and not chosen.json:
                        print(found[-1], flush=True)
    summary = {"steps": steps, **counts(found), "slowest_seconds": max(each.seconds for each in found)}
    return tell(summary, found, as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
