"""A prober: one UDP request every 10 ms to a guest, every answer kept with its monotonic time.

It measures from outside what a guest's clients feel: the longest silence, whether it is the same boot, and whether
its counter ever went back.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from urllib.parse import urlsplit

from models.errors import BadInput, LabError


@dataclass(frozen=True)
class Answer:
    """One answer. `at` is when it came, monotonic seconds; `durable` is the last count known to be on disk."""

    at: float
    name: str
    boot_id: str
    counter: int
    durable: int
    guest_longest_gap_seconds: float
    """longest time between two ticks by the guest's own clock, which stands still while the guest is paused"""


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What a probe saw between its start and its end."""

    started: float
    ended: float
    sent: int
    answers: tuple[Answer, ...]

    @property
    def blackout_seconds(self) -> float:
        """The longest time without an answer, the start and the end of the probe counted as answers."""
        times = [self.started, *(answer.at for answer in self.answers), self.ended]
        return max(later - earlier for earlier, later in pairwise(times))

    @property
    def boot_ids(self) -> tuple[str, ...]:
        """Boot ids in the order they were first seen: more than one means that the guest was started anew."""
        return tuple(dict.fromkeys(answer.boot_id for answer in self.answers))

    @property
    def counter_unbroken(self) -> bool:
        """It answered, and its counter never went back. A counter that started anew would have gone back."""
        counters = [answer.counter for answer in self.answers]
        return bool(counters) and all(a <= b for a, b in pairwise(counters))

    @property
    def lost_writes(self) -> int:
        """Counts that were answered as durable and then were not: above 0 the disk lost acknowledged data."""
        highest = lost = 0
        for answer in self.answers:
            lost = max(lost, highest - answer.durable)
            highest = max(highest, answer.durable)
        return lost

    @property
    def last(self) -> Answer | None:
        return self.answers[-1] if self.answers else None

    def since(self, started: float) -> ProbeResult:
        """The part after a monotonic time, for one move out of a longer probe. `sent` is that of the whole."""
        return ProbeResult(
            started=started, ended=self.ended, sent=self.sent, answers=tuple(a for a in self.answers if a.at >= started)
        )


def parse_target(target: str) -> tuple[str, int]:
    """`udp://ADDRESS:PORT` → (address, port). Raises BadInput."""
    parts = urlsplit(target)
    if parts.scheme != "udp" or not parts.hostname or not parts.port:
        raise BadInput(f"probe target {target!r}: expected udp://ADDRESS:PORT")
    return parts.hostname, parts.port


class Probe:
    """Probes one guest in a thread of its own, as a context manager or with start() and stop().

    `result()` may be called while it runs, and gives what was seen so far."""

    def __init__(self, target: str, *, interval_seconds: float = 0.01) -> None:
        self._address = parse_target(target)
        self._interval = interval_seconds
        self._answers: list[Answer] = []
        self._sent = 0
        self._started = 0.0
        self._ended: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe {target}", daemon=True)

    def start(self) -> Probe:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def stop(self) -> ProbeResult:
        self._stop.set()
        self._thread.join()
        if self._ended is None:
            self._ended = time.monotonic()
        return self.result()

    def result(self) -> ProbeResult:
        ended = self._ended if self._ended is not None else time.monotonic()
        return ProbeResult(started=self._started, ended=ended, sent=self._sent, answers=tuple(self._answers))

    def wait_answer(self, seconds: float) -> Answer:
        """The next answer from now on. Raises LabError when none comes within `seconds`."""
        seen = len(self._answers)
        deadline = time.monotonic() + seconds
        while len(self._answers) == seen:
            if time.monotonic() > deadline:
                raise LabError(f"no answer from udp://{self._address[0]}:{self._address[1]} within {seconds:g} s")
            time.sleep(self._interval)
        return self._answers[-1]

    def __enter__(self) -> Probe:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            next_send = time.monotonic()
            while not self._stop.is_set():
                now = time.monotonic()
                if now >= next_send:
                    with suppress(OSError):  # no route, no buffer: that is silence, which is what is measured
                        sock.sendto(str(self._sent).encode(), self._address)
                    self._sent += 1
                    next_send = max(next_send + self._interval, now)
                ready = select.select([sock], [], [], max(0.0, next_send - time.monotonic()))[0]
                if ready:
                    self._receive(sock)

    def _receive(self, sock: socket.socket) -> None:
        while True:
            try:
                data = sock.recv(2048)
            except OSError:  # nothing more, or an ICMP error for a request sent earlier
                return
            answer = parse_answer(data, time.monotonic())
            if answer:
                self._answers.append(answer)


def parse_answer(data: bytes, at: float) -> Answer | None:
    """A guest's answer; None for anything else that came to the port."""
    try:
        value = json.loads(data)
        return Answer(
            at=at,
            name=str(value["name"]),
            boot_id=str(value["boot_id"]),
            counter=int(value["counter"]),
            durable=int(value["durable"]),
            guest_longest_gap_seconds=int(value["longest_gap_ms"]) / 1000,
        )
    except (ValueError, KeyError, TypeError):
        return None


def ask(target: str, *, seconds: float = 1.0) -> Answer | None:
    """Ask a guest once, again every 100 ms until it answers; None when it stays silent."""
    return ask_all([target], seconds=seconds)[target]


def ask_all(targets: Sequence[str], *, seconds: float) -> dict[str, Answer | None]:
    """Ask several guests at once, each until it answers or the time is over."""
    deadline = time.monotonic() + seconds
    by_address = {parse_target(target): target for target in targets}
    answers: dict[str, Answer | None] = dict.fromkeys(targets)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        while (missing := [a for a, t in by_address.items() if answers[t] is None]) and time.monotonic() < deadline:
            for address in missing:
                with suppress(OSError):
                    sock.sendto(b"ask", address)
            until = min(deadline, time.monotonic() + 0.1)
            while (left := until - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
                try:
                    data, address = sock.recvfrom(2048)
                except OSError:
                    continue
                target = by_address.get(address)
                answer = parse_answer(data, time.monotonic())
                if target and answer and answers[target] is None:
                    answers[target] = answer
    return answers
