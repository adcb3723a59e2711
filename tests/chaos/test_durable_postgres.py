"""Two lifeboats on different hosts that share a PostgreSQL: one at a time evacuates, and each finishes its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes.simulated_world import POLICY, World

from agent.execute.workflows import Durable
from agent.state.requests import Request, ask, unfinished
from models.approval import ApprovalRecord, ApprovedPlan
from models.errors import BadInput, Busy
from models.evacuation import EvacuationOutcome
from tools.clock import SystemClock
from tools.ports.records.evacuations import PauseRequested

pytestmark = pytest.mark.slow
BIN = Path("/usr/lib/postgresql/15/bin")
_PAUSED_EVACUATION = """
import sys
from pathlib import Path
from chaos.test_durable_postgres import evacuate_as
evacuate_as(Path(sys.argv[1]), sys.argv[2], pause=True)
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL on a unix socket in a directory of its own."""
    if not (BIN / "initdb").exists():
        pytest.skip(f"no PostgreSQL here: {BIN / 'initdb'} is missing")
    directory = Path("/tmp") / f"lifeboat-pg-{os.getpid()}"  # short: a socket's path has a limit
    directory.mkdir(mode=0o700)
    who: dict[str, object] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def pg(*command: str) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=directory, **who)  # type: ignore[call-overload]

    data = str(directory / "data")
    try:
        pg(str(BIN / "initdb"), "-D", data, "-U", "lifeboat", "--auth=trust", "-N")
        options = f"-c listen_addresses='' -c unix_socket_directories={directory} -c fsync=off"
        pg(str(BIN / "pg_ctl"), "-D", data, "-w", "-l", str(directory / "log"), "-o", options, "start")
        yield f"postgresql://lifeboat@/postgres?host={directory}"
        pg(str(BIN / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def evacuate_as(directory: Path, url: str, *, pause: bool = False) -> EvacuationOutcome:
    """One host's lifeboat, on a fleet of its own. With `pause` it stops right after it began, and says so."""
    directory.mkdir(exist_ok=True)
    world = World(directory)
    plan, fleet, verdict = world.plan()
    now = world.fleet.clock.now()
    agreement = ApprovalRecord(
        plan_sha256=plan.digest(), by="ana", at=now, expires_at=now + POLICY.approval.expires_after
    )
    name = f"evac-{directory.name}"
    if pause:
        world.journal.append(PauseRequested(by="ana"), now=now, evacuation=name)
    try:
        order = ApprovedPlan(plan=plan, fleet=fleet, verdict=verdict, policy=POLICY, agreement=agreement)
        return Durable(directory, url).execute(order, world.hands, evacuation=name).outcome
    finally:
        world.journal.close()


def test_one_evacuates_at_a_time_and_a_crash_of_one_is_not_evacuated_around(tmp_path: Path, database: str) -> None:
    tests = Path(__file__).parents[1]
    first, second = tmp_path / "first", tmp_path / "second"
    environment = os.environ | {"PYTHONPATH": f"{tests}:{tests.parent}"}
    with subprocess.Popen([sys.executable, "-c", _PAUSED_EVACUATION, first, database], env=environment) as process:
        first.mkdir(exist_ok=True)
        wait_until_begun(World(first), process)
        with pytest.raises(Busy, match="evac-first of another lifeboat is not over"):
            evacuate_as(second, database)
        process.send_signal(signal.SIGKILL)
    with pytest.raises(Busy, match="evac-first of another lifeboat is not over"):
        evacuate_as(second, database)

    back = World(first)
    ask(back.journal, Request.RESUME, "", by="ana", now=back.fleet.clock.now())
    _, ended = Durable(first, database).recover(back.hands, POLICY, lambda: (back.snapshot(), back.risks()))
    assert [evacuation.outcome for evacuation in ended] == [EvacuationOutcome.DONE]
    back.check_nothing_lost_or_doubled()
    back.journal.close()
    assert evacuate_as(second, database) is EvacuationOutcome.DONE


def wait_until_begun(world: World, process: subprocess.Popen[bytes]) -> None:
    deadline = SystemClock().monotonic() + 60
    while not unfinished(world.journal):
        assert process.poll() is None, "it ended before it began"
        assert SystemClock().monotonic() < deadline
        SystemClock().sleep(0.1)
    world.journal.close()


def test_a_database_that_does_not_answer_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be opened"):
        evacuate_as(tmp_path / "alone", "postgresql://lifeboat@127.0.0.1:9/none?connect_timeout=2")
