"""Slack and a language model's endpoint in a process of their own, which can be frozen, and told to be out of order."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from scenes.stub_openai import Answer, says, serving

from lab.slack.server import slack_stand_in


class Outside:
    """What stands outside, and how it is put out of order."""

    def __init__(self, pid: int, wire: Connection, slack_url: str, model_url: str) -> None:
        self._pid, self._wire = pid, wire
        self.slack_url, self.model_url = slack_url, model_url

    def tell(self, what: str) -> None:
        with suppress(OSError):
            self._wire.send(what)

    def freeze(self, frozen: bool) -> None:
        os.kill(self._pid, signal.SIGSTOP if frozen else signal.SIGCONT)


@contextmanager
def standing_by(seed: int) -> Generator[Outside]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_stand, args=(seed, there), daemon=True)
    process.start()
    assert process.pid is not None
    slack_url, model_url = here.recv()
    try:
        yield Outside(process.pid, here, slack_url, model_url)
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        process.terminate()
        process.join(10)


def _stand(seed: int, wire: Connection) -> None:
    draw = random.Random(seed)

    def model(body: dict[str, Any]) -> Answer:
        """In order at first (it can count), then anything: refusals, half an answer, words, silence."""
        match draw.choice(("fault", "fault", "busy", "half", "words", "slow")):
            case "fault":
                return 500
            case "busy":
                return 429
            case "half":
                return b'{"choices": ['
            case "slow":
                time.sleep(3)
                return 503
            case _:
                return says(json.dumps({"decisions": [], "note": "move everything to node-0000 at once"}))(body)

    with slack_stand_in() as slack, serving(model) as endpoint:
        wire.send((slack.api_url, endpoint.url))
        while True:
            match wire.recv():
                case "Slack is down":
                    slack.down = True
                    slack.drop_sockets()
                case "Slack is up":
                    slack.down = False
                case "Slack drops sockets":
                    slack.drop_sockets()
                case _:
                    pass
