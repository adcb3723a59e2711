"""What asking a language model costs besides the model: our own processor time a plan, and how soon the solver's plan is in hand
when the endpoint is out.

`./dev bench llm_planning`. The model is the scripted one of the tests, in a process of its own; scenes are those of
`lifeboat eval`.
"""

from __future__ import annotations

import argparse
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from agent.evals.run import run_scenes, shipped_scenes
from agent.evals.scene import Scene
from agent.evals.scene_files import load_scenes
from agent.llm.choose import planner_named
from agent.settings import LlmSettings

TESTS = Path(__file__).parents[1] / "tests"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--scenes", default="basics,judge", help="how their names begin, by commas")
    asked.add_argument("--runs", type=int, default=2)
    options = asked.parse_args()
    scenes = load_scenes(shipped_scenes(), tuple(options.scenes.split(",")))
    with good_model() as url:
        llm = LlmSettings(base_url=url, model="good")
        run_scenes(scenes[:2], llm, runs=1)  # imports, the catalogue, the tools' schemas: once a process
        ran = run_scenes(scenes, llm, runs=options.runs)
    own = sorted(run.cost.own_processor_seconds for run in ran)
    print(f"{len(ran)} plans of {len(scenes)} scenes, {sum(run.cost.model_calls for run in ran)} model calls")
    for share in (0.5, 0.95, 1.0):
        print(f"  own processor time, {share:4.0%} of plans: {1000 * own[math.ceil(share * len(own)) - 1]:5.0f} ms")
    print("the solver's plan in hand after an outage, wall clock:")
    for name, outage in (("nobody listens", None), ("HTTP 503", _busy), ("cut off within an answer", _cut)):
        took = sorted(_outage(scenes[-1], outage) for _ in range(5))
        print(f"  {name:26s} median {1000 * took[2]:5.0f} ms, slowest {1000 * took[-1]:5.0f} ms")


@contextmanager
def good_model() -> Generator[str]:
    """The scripted model's address."""
    command = [sys.executable, "-m", "scenes.good_model"]
    with subprocess.Popen(
        command, cwd=TESTS, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(TESTS.parent)}
    ) as served:
        assert served.stdout is not None
        try:
            yield served.stdout.readline().strip()
        finally:
            served.terminate()


def _outage(scene: Scene, answer: Callable[[socket.socket], None] | None) -> float:
    """Seconds until the solver's plan is there."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if answer is not None:
            listening.listen()
            threading.Thread(target=_serve, args=(listening, answer), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        llm = LlmSettings(base_url=url, model="m", interface="tools_required")
        began = time.monotonic()
        plan = planner_named("llm", llm)(scene.situation, asked=scene.asked)
        took = time.monotonic() - began
        assert plan.planned_by.planner == "solver"
        assert plan.moves
    return took


def _serve(listening: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            connection.recv(1 << 20)
            answer(connection)


def _busy(connection: socket.socket) -> None:
    connection.sendall(BUSY)


def _cut(connection: socket.socket) -> None:
    connection.sendall(HEAD)


if __name__ == "__main__":
    main()
