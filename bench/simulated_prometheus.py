"""A Prometheus for a simulated fleet: what it answers follows from the moment asked for and from what goes wrong when.

SIMULATED: no figure of it is drawn from a real machine. It needs no clock of its own: every range query says its times. So an
agent on a simulated clock may ask it about any day.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from models.risk.signal import STATISTICS, Signal
from tools.signals import load_catalogue

SCRAPE_SECONDS = 15
_SHAPES = 16
"""different runs of noise that the nodes share among themselves"""
_WANDER = {"V": 0.0015, "A": 0.02, "W": 0.02, "°C": 0.02, "rpm": 0.01}
"""units that never stand still, and by what share of the level they wander"""
FAILING = "psu_12v_volts"
"""the signal by which simulated nodes fail"""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One thing that goes wrong, in unix seconds of the fleet's time."""

    node: str
    """empty: Prometheus itself"""
    kind: Literal["sag", "flap", "silent", "nan", "refuses", "drips"]
    """sag: the 12 V rail falls past its limit; flap: it is out of its limits every other few minutes; silent: no exporter of
    the node answers; nan: they answer, and no value is a number; refuses: Prometheus answers 503; drips: it hardly
    answers at all"""
    start: float
    until: float


@dataclass(frozen=True, kw_only=True)
class FleetTelemetry:
    """What Prometheus holds of a fleet."""

    nodes: tuple[str, ...]
    signals: int = 80
    """how many of the catalogue's signals the nodes expose; the others have no series"""
    troubles: tuple[Trouble, ...] = ()


@contextmanager
def serving(telemetry: FleetTelemetry) -> Generator[str]:
    """The URL of a stub in a process of its own, for as long as the block runs."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(telemetry, there), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        server.terminate()
        server.join(10)


def exposed(count: int) -> list[Signal]:
    """The signals that a node exposes: the one it fails by first, none of GPUs, which few nodes have."""
    catalogue = [s for s in load_catalogue() if not s.name.startswith("gpu")]
    first = {FAILING: 0, "target_up": 1, "node_uptime_seconds": 2, "scrape_age_seconds": 3}
    chosen = sorted((s for s in catalogue if s.name in first), key=lambda s: first[s.name])
    wander = [s for s in catalogue if s.unit in _WANDER and s.name not in first]
    still = [s for s in catalogue if s.unit not in _WANDER and s.name not in first]
    while len(chosen) < count and (wander or still):  # of a real machine's, 46 of 66 never move in a day
        chosen += [wander.pop(0)] if wander and (len(chosen) % 10 in (0, 4, 7) or not still) else [still.pop(0)]
    return chosen[:count]


def healthy(signal: Signal) -> float:
    """A level within its limits."""
    limits = signal.limits
    if signal.name.endswith("_up"):
        return 1.0
    if signal.unit == "state" or limits.relative:
        return 0.0
    if limits.rows:
        return limits.rows[0].nominal
    if limits.nominal is not None:
        return limits.nominal
    if limits.low is not None and limits.high is not None:
        return (limits.low + limits.high) / 2
    if limits.high is not None:
        return (0.4 * limits.high if limits.high > 0 else limits.high - 30.0) if signal.unit in _WANDER else 0.0
    return limits.low * 1.5 + 1.0 if limits.low is not None else 1.0


class _Answers:
    """From a query and its times to the body of an answer."""

    def __init__(self, telemetry: FleetTelemetry) -> None:
        self._nodes = telemetry.nodes
        self._troubles: dict[str, list[Trouble]] = {}
        for trouble in telemetry.troubles:
            self._troubles.setdefault(trouble.node, []).append(trouble)
        self._signals = {s.query("instance"): s for s in exposed(telemetry.signals)}
        self._scrapes = {s.scrapes.query("instance") for s in self._signals.values() if s.scrapes is not None}
        self._counts = {
            s.scrape_counts.query("instance") for s in self._signals.values() if s.scrape_counts is not None
        }
        self._levels: dict[str, list[list[str]]] = {}

    def down(self, at: float) -> str | None:
        """How Prometheus itself is out of order then."""
        return next((t.kind for t in self._troubles.get("", ()) if t.start <= at < t.until), None)

    def body(self, query: str, times: Sequence[int]) -> bytes:
        if query in self._counts:
            rows = (self._row(node, f'"span":"{span}"', [str(span // SCRAPE_SECONDS)] * len(times), times)
                    for node in self._nodes for span in (600, 3600))  # fmt: skip
            return _matrix(rows)
        if query in self._scrapes:
            return _matrix(self._row(node, "", [str(t) for t in times], times) for node in self._nodes)
        if (signal := self._signals.get(query)) is not None:
            label = f'"{signal.part_label}":"part 1"' if signal.part_label else ""
            return _matrix(self._rows(signal, label, "last", times))
        if (summary := self._summarised(query)) is not None:
            signal, count = summary
            part = f'"{signal.part_label}":"part 1",' if signal.part_label else ""
            asked = [stat for stat in STATISTICS if f'"stat", "{stat}"' in query]
            return _matrix(
                row for stat in asked for row in self._rows(signal, f'{part}"stat":"{stat}"', stat, times, count)
            )
        return _matrix(())

    @cache  # noqa: B019  one for the life of the process
    def _summarised(self, query: str) -> tuple[Signal, str] | None:
        start = "label_replace(last_over_time(("
        for asked, signal in self._signals.items():
            rest = query.removeprefix(f"{start}{asked})[")
            if rest != query and (spans := re.match(r"(\d+)s:(\d+)s\]", rest)):
                return signal, str(max(1, int(spans[1]) // int(spans[2])))
        return None

    def _rows(self, signal: Signal, label: str, stat: str, times: Sequence[int], count: str = "") -> Iterable[str]:
        shapes = [[count] * len(times)] if stat == "count" else self._shapes(signal, times)
        ends = [
            f'"values":[{",".join(f"""[{t},"{v}"]""" for t, v in zip(times, shape, strict=True))}]' for shape in shapes
        ]
        for number, node in enumerate(self._nodes):
            troubles = self._troubles.get(node, ())
            if troubles and any(t.start <= times[-1] and times[0] < t.until for t in troubles):
                shape = list(shapes[number % len(shapes)])
                yield self._row(node, label, self._troubled(signal, stat, shape, troubles, times), times)
            else:
                yield f'{{"metric":{{"instance":"{node}:9100"{"," if label else ""}{label}}},{ends[number % len(ends)]}}}'

    def _troubled(
        self, signal: Signal, stat: str, shape: list[str], troubles: Sequence[Trouble], times: Sequence[int]
    ) -> list[str | None]:
        found: list[str | None] = list(shape)
        for place, at in enumerate(times):
            for trouble in troubles:
                if not trouble.start <= at < trouble.until:
                    continue
                if trouble.kind == "silent":
                    found[place] = "0" if signal.name == "target_up" and stat != "count" else None
                elif trouble.kind == "nan":
                    found[place] = found[place] if stat == "count" else "NaN"
                elif signal.name == FAILING and stat != "count":
                    since = at - trouble.start
                    fallen = since / 3600 if trouble.kind == "sag" else float(since // 240 % 2)
                    found[place] = f"{12.1 - 1.2 * min(fallen, 1.5):.3f}"
        return found

    def _shapes(self, signal: Signal, times: Sequence[int]) -> list[list[str]]:
        level = healthy(signal)
        if signal.name == "node_uptime_seconds":
            return [[str(t - 1_700_000_000) for t in times]]
        if (spread := _WANDER.get(signal.unit)) is None:
            return [[f"{level:g}"] * len(times)]
        run = self._levels.get(signal.name)
        if run is None:
            draw = random.Random(signal.name)
            wide = (abs(level) or 1.0) * spread
            run = [[f"{level + draw.uniform(-wide, wide):.4g}" for _ in range(509)] for _ in range(_SHAPES)]
            self._levels[signal.name] = run
        places = [t // SCRAPE_SECONDS % 509 for t in times]
        return [[one[place] for place in places] for one in run]

    def _row(self, node: str, label: str, values: Sequence[str | None], times: Sequence[int]) -> str:
        told = ",".join(f'[{t},"{v}"]' for t, v in zip(times, values, strict=True) if v is not None)
        return (
            f'{{"metric":{{"instance":"{node}:9100"{"," if label else ""}{label}}},"values":[{told}]}}' if told else ""
        )


def _matrix(rows: Iterable[str]) -> bytes:
    return f'{{"status":"success","data":{{"resultType":"matrix","result":[{",".join(filter(None, rows))}]}}}}'.encode()


def _serve(telemetry: FleetTelemetry, ready: Connection) -> None:
    answers = _Answers(telemetry)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            asked = dict(parse_qsl(urlsplit(self.path).query) + parse_qsl(body))
            if "start" not in asked:
                self._send(
                    200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}}).encode()
                )
                return
            start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
            how = answers.down(end)
            if how == "refuses":
                self._send(503, b"out of order")
                return
            if how == "drips":  # half a head, and then nothing more
                self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
                self.close_connection = True
                return
            times = [round(start + step * n) for n in range(int((end - start) / step + 1e-6) + 1)]
            self._send(200, answers.body(asked["query"], times))

        def do_GET(self) -> None:
            self.do_POST()

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    ready.send(server.server_address[1])
    server.serve_forever()
