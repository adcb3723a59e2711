"""Kill lifeboat at every step between a press of Approve in Slack and the act, run it again, and look at what is true then.

    PYTHONPATH=tests python -m chaos.kill_approvals --runs 3     # every step, three times: minutes
    PYTHONPATH=tests python -m chaos.kill_approvals --sample 3   # as the test suite does

As `kill_harness`: a real `lifeboat run` that dies by SIGKILL, on SIMULATED nodes that live in a server process and go on. The
Slack is the stand-in, in a process of its own. Two different people have to agree, and press what is live whenever they see it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.kill_harness import Found, Harness, counts, tell, wait_for
from chaos.kill_lifeboat import run_lifeboat
from chaos.kill_world import FastClock, settings_yaml

from agent.actions.runner import needs_recovery
from agent.approve.proposals import recent_questions
from agent.approve.slack.render import APPROVE
from agent.documents import read_policy
from agent.state.requests import unfinished
from lab.slack.server import SlackStandIn
from lab.slack.workspace import Workspace
from models.errors import LifeboatError
from models.proposals.rights import why_not_enough
from models.proposals.states import LIVE, EventKind
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.approvals import ApprovalChanged, ApprovalClosed
from tools.ports.records.evacuations import EvacuationStarted

PEOPLE = ("UANA", "UTOM")
POLICY = """
approval:
  people: {ana: ["slack:UANA"], tom: ["slack:UTOM"]}
  approvers: [{may: [ana, tom]}]
  two_people: {over_vms: 0}
"""
_LAST_STEP = "after append evacuation-started"
_PATIENCE_SECONDS = 240.0
_GLANCE_SECONDS = 0.05
_IMPORTED_ONCE = (
    "agent.cli.run", "agent.service.scheduler", "agent.service.control_loop", "agent.service.people.slash_commands",
    "agent.approve.slack.connect", "agent.approve.slack.view", "agent.cli.outcome", "tools.slack.client",
)  # fmt: skip


class Slack:
    """The stand-in in a process of its own, reached as a browser reaches it."""

    def __init__(self) -> None:
        there, here = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            stand_in = SlackStandIn(Workspace(users={user: user.lower() for user in PEOPLE}))
            os.write(here, f"{stand_in.port}\n".encode())
            while True:
                signal.pause()
        with os.fdopen(there) as said:
            self.url = f"http://127.0.0.1:{said.readline().strip()}"
        os.close(here)

    def buttons(self) -> list[str]:
        """Messages that have an Approve to press now."""
        with urllib.request.urlopen(f"{self.url}/state") as answer:
            messages = json.load(answer)["messages"]
        return [
            each["ts"]
            for each in messages
            if any(e.get("action_id") == APPROVE for block in each["blocks"] for e in block.get("elements") or [])
        ]

    def press(self, user: str, ts: str) -> None:
        """Whatever comes of it: it may be too late, or nobody may be there."""
        body = json.dumps({"user": user, "ts": ts, "action": APPROVE}).encode()
        request = urllib.request.Request(f"{self.url}/press", body, {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request).close()
        except urllib.error.HTTPError as error:
            error.close()

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class ApprovalHarness(Harness):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        for module in _IMPORTED_ONCE:
            importlib.import_module(module)

    def count_answer_steps(self) -> int:
        """Steps from the first press until it has begun, undisturbed. Raises RuntimeError when that is not clean itself."""
        found = self.kill_after_press(None, "dry")
        if not found.clean:
            raise RuntimeError(f"an undisturbed approval is not clean: {found}")
        lines = (self.directory / "dry" / "first.steps").read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if line.endswith(_LAST_STEP))

    def kill_after_press(self, step: int | None, name: str) -> Found:
        state = self.directory / name
        state.mkdir()
        slack = Slack()
        self.world.reset_with_one_that_moves()
        for token in ("xoxb-1-lab", "xapp-1-lab"):
            (state / token).write_text(token)
        (state / "policy.yaml").write_text(POLICY)
        (state / "lifeboat.yaml").write_text(
            settings_yaml(state)
            + f"policy_file: {state / 'policy.yaml'}\ninterval: 10s\n"
            + f"slack: {{channel: C0LIFEBOAT, bot_token_file: {state / 'xoxb-1-lab'}, "
            + f"app_token_file: {state / 'xapp-1-lab'}, api_url: '{slack.url}/api/'}}\n"
        )
        try:
            return self._kill(slack, state, step)
        finally:
            slack.close()

    def _kill(self, slack: Slack, state: Path, step: int | None) -> Found:
        arguments, pressed = ["run", "--config", str(state / "lifeboat.yaml")], state / "pressed"
        first = run_lifeboat(arguments, self.address, state / "first.log", die_at=step, armed=pressed)
        self._until(lambda: bool(slack.buttons()), first)
        pressed.touch()
        killed = self._press_until_over(slack, state, first)
        steps = (state / "first.steps").read_text().splitlines() if (state / "first.steps").exists() else []
        began = time.monotonic()
        last = run_lifeboat(arguments, self.address, state / "last.log") if killed else first
        if killed:
            self._press_until_over(slack, state, last)
        found = Found(
            point=f"step {step}",
            killed=killed,
            seconds=round(time.monotonic() - began, 2),
            last_step=steps[-1] if steps else "",
        )
        os.kill(last, signal.SIGTERM)
        code = wait_for(last)
        if code != 0:
            found.wrong.append(f"lifeboat ended with {code}: {(state / 'last.log').read_text()[-500:]}")
        self._judge(found, slack, state)
        if found.clean and step is not None:
            shutil.rmtree(state)
        return found

    def _until(self, condition: Any, pid: int) -> bool:
        """False when that process is gone before. It may be a zombie that `wait_for` still has to be told of."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if condition():
                return True
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return False
            time.sleep(_GLANCE_SECONDS)
        raise RuntimeError("it did not come")

    def _press_until_over(self, slack: Slack, state: Path, pid: int) -> bool:
        """Both press what is live until nothing is left to decide and the guest is where it should be; whether the process was
        killed meanwhile."""

        def over() -> bool:
            for ts in slack.buttons():
                for user in PEOPLE:
                    slack.press(user, ts)
            running = self.world.truth().running_on["web"]
            return running not in ([], ["a"]) and self._is_settled(state) and not slack.buttons()

        if self._until(over, pid):
            return False
        return wait_for(pid) == -signal.SIGKILL

    def _is_settled(self, state: Path) -> bool:
        journal = SqliteJournal(state / "journal.sqlite")
        try:
            open_ones = [each for each in recent_questions(journal, FastClock(), 5) if each.state in LIVE]
            return not open_ones and not unfinished(journal)
        finally:
            journal.close()

    def _judge(self, found: Found, slack: Slack, state: Path) -> None:
        truth, policy = self.world.truth(), read_policy(state / "policy.yaml")
        running = truth.running_on["web"]
        found.doubled += sorted(truth.ran_twice) + (running if len(running) > 1 else [])
        found.left_over += [*truth.stamped, *truth.arriving, *(f"button of {ts}" for ts in slack.buttons())]
        if len(running) != 1 or running == ["a"]:
            found.lost.append(f"web runs on {running}")
        journal = SqliteJournal(state / "journal.sqlite")
        try:
            journal.verify()
            found.left_over += [f"lock of {attempt}" for attempt in journal.locks().values()]
            if needs_recovery(journal):
                found.wrong.append("something begun was not ended")
            moved = 0
            for proposal in recent_questions(journal, FastClock(), 20):
                entries = journal.of(ApprovalChanged, ApprovalClosed, evacuation=proposal.id)
                taken = [entry for entry in entries if entry.record.event.kind is EventKind.EXECUTE]
                started = journal.of(EvacuationStarted, evacuation=proposal.id)
                moved += len(started)
                if len(taken) > 1 or len(started) > len(taken):
                    found.wrong.append(f"{proposal.id}: taken up {len(taken)} times, begun {len(started)} times")
                people = {e.record.event.person for e in entries if e.record.event.kind is EventKind.AGREE}
                if started and (len(people) < 2 or why_not_enough(proposal, policy) is not None):
                    found.wrong.append(f"{proposal.id} was begun with the agreement of {sorted(people)}")
            if moved != 1:
                found.wrong.append(f"{moved} evacuations were begun")
        except LifeboatError as error:
            found.wrong.append(str(error))
        finally:
            journal.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--sample", type=int, help="this many steps, spread evenly")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="directory for what each run leaves")
    chosen = parser.parse_args(arguments)
    found: list[Found] = []
    with (
        tempfile.TemporaryDirectory(prefix="lifeboat-kill-") as made,
        ApprovalHarness(chosen.keep or Path(made)) as harness,
    ):
        steps = harness.count_answer_steps()
        sample = min(chosen.sample or steps, steps)
        points = [1 + round((each + 0.5) * steps / sample - 0.5) for each in range(sample)]
        for run in range(chosen.runs):
            for step in points:
                found.append(harness.kill_after_press(step, f"{run}-{step}"))
                if not found[-1].clean and not chosen.json:
                    print(found[-1], flush=True)
    summary = {"steps": steps, **counts(found), "slowest_seconds": max(each.seconds for each in found)}
    return tell(summary, found, as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
