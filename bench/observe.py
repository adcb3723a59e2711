"""What an observation pass costs at fleet size: Prometheus's summaries fetched, decoded, checked and put into the ring on disk.

    .venv/bin/python -m bench.observe [--nodes 10000] [--signals 60] [--runs 3]

A stub server in a process of its own serves generated matrices over loopback, one answer a signal with five series a node, as
`Signal.summary_query` has Prometheus give them. Beside it, in the same run, over the same bytes and as many requests at once:
*plain*, the bare minimum (requests, the standard library's json, numpy; no check, nothing kept), and *frame*, the Prometheus
client's own way (custom_query_range and MetricRangeDataFrame), on a tenth of the signals, scaled. Ours holds Python's cycle
collector back while it decodes, so the fair peer is plain with the collector off; with it on, as Python comes, it is told, too.
The first pass, which reads every series' labels, is told apart: from then on labels are read only where series come or go.
Nothing is drawn from a real fleet.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from models.risk.signal import STATISTICS, Component, Limits, Signal

T0 = 1_764_000_000 // 3600 * 3600
AT_ONCE = 2


def signals(count: int) -> list[Signal]:
    return [
        Signal(
            name=f"signal_{n}",
            component=Component.POWER,
            unit="V",
            promql=f"signal_{n}",
            part_label="name",
            limits=Limits(low=1),
            meaning="it",
        )
        for n in range(count)
    ]


def serve(nodes: int, ready: Connection) -> None:
    """Answer every range query with five series a node; the end of the range is in the samples."""
    row = '{{"metric":{{"instance":"node-{n:05d}:9100","name":"PSU1 12V Out","stat":"{s}"}},"values":[[@@,"{v}"]]}}'
    values = {"last": "12.09", "min": "12.04", "max": "12.13", "mean": "12.0875", "count": "20"}
    rows = ",".join(row.format(n=n, s=stat, v=values[stat]) for stat in STATISTICS for n in range(nodes))
    template = ('{"status":"success","data":{"resultType":"matrix","result":[' + rows + "]}}").encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            asked = dict(parse_qsl(urlsplit(self.path).query) + parse_qsl(body))
            content = template.replace(b"@@", str(int(float(asked["end"]))).encode())
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ready.send((server.server_address[1], len(template)))
    server.serve_forever()


def plain(url: str, asked: list[Signal], end: int, *, collect: bool) -> tuple[float, float]:
    """Seconds to fetch and decode one answer a signal into a numpy array, and no more."""
    import numpy as np
    import requests

    def fetch(signal: Signal) -> int:
        form = {"query": signal.promql, "start": end, "end": end, "step": 300}
        answer = requests.post(f"{url}/api/v1/query_range", data=form, timeout=60)
        rows = json.loads(answer.content)["data"]["result"]
        return np.array([float(value) for series in rows for _, value in series["values"]]).size

    if collect:
        return timed(lambda: each(fetch, asked))
    gc.disable()
    try:
        return timed(lambda: each(fetch, asked))
    finally:
        gc.enable()


def frame(url: str, asked: list[Signal], end: int) -> tuple[float, float]:
    """Seconds of the client's own DataFrame path."""
    from prometheus_api_client.metric_range_df import MetricRangeDataFrame
    from prometheus_api_client.prometheus_connect import PrometheusConnect

    def fetch(signal: Signal) -> int:
        client = PrometheusConnect(url=url)
        at = datetime.fromtimestamp(end, UTC)
        return len(
            MetricRangeDataFrame(client.custom_query_range(signal.promql, start_time=at, end_time=at, step="300"))
        )

    return timed(lambda: each(fetch, asked))


class Ours:
    """A pass as the agent does it: `agent.observe.summaries.refresh` into a ring."""

    def __init__(self, url: str, asked: list[Signal], directory: Path) -> None:
        from tools.history.summary_ring import SummaryRing
        from tools.prometheus.metrics import PrometheusMetrics

        self.metrics = PrometheusMetrics(url, timeout_seconds=60.0)
        self.ring = SummaryRing(directory)
        self.asked = asked
        self.stored = 0.0
        for name in ("put", "fold", "flush"):
            setattr(self.ring, name, self._clocked(getattr(self.ring, name)))
        # The first stretch only: a day of backfill is another measurement.
        for signal in asked:
            self.ring.newest[signal.name] = T0 - 300

    def _clocked(self, do: Callable[..., None]) -> Callable[..., None]:
        """The ring's share of a pass; it is written by one thread."""

        def clocked(*args: Any, **kwargs: Any) -> None:
            began = time.thread_time()
            do(*args, **kwargs)
            self.stored += time.thread_time() - began

        return clocked

    def run(self, end: int) -> tuple[float, float, float]:
        """(seconds, on the processor, of those in the ring)."""
        from agent.observe.summaries import refresh

        self.stored = 0.0
        now = datetime.fromtimestamp(end + 30, UTC)
        failed: dict[str, Any] = {}
        took = timed(
            lambda: failed.update(refresh(self.ring, self.metrics, self.asked, now=now, interval_seconds=15.0))
        )
        assert not failed, failed
        return *took, self.stored


def each(do: Callable[[Signal], int], asked: list[Signal]) -> None:
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        assert all(pool.map(do, asked))


def timed(do: Callable[[], object]) -> tuple[float, float]:
    """(seconds, of those on the processor): the second is what holds on a machine that does other work, too."""
    began, worked = time.perf_counter(), time.process_time()
    do()
    return time.perf_counter() - began, time.process_time() - worked


def ours_apart(url: str, count: int, runs: int, directory: Path, answer: Connection) -> None:
    """Our passes in a process of their own, so that its peak of memory is ours alone."""
    ours = Ours(url, signals(count), directory)
    answer.send(ours.run(T0))  # makes the columns
    for k in range(runs):
        answer.recv()  # one pass at a time, between the others'
        answer.send(ours.run(T0 + 300 * (k + 1)))
    (node,) = [h for h in ours.ring.histories(ours.asked[-1], first=T0, last=T0 + 300 * runs) if h.node == "node-00007"]
    assert node.values.tolist() == [12.09] * (runs + 1)
    answer.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0)
    ours.metrics.close()
    ours.ring.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--signals", type=int, default=60)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(chosen.nodes, there), daemon=True)
    server.start()
    port, size = here.recv()
    url = f"http://127.0.0.1:{port}"
    directory = Path(tempfile.mkdtemp(prefix="lifeboat-bench-"))
    mine, its = context.Pipe()
    worker = context.Process(target=ours_apart, args=(url, chosen.signals, chosen.runs, directory, its), daemon=True)
    worker.start()
    try:
        beginning = mine.recv()
        wanted = signals(chosen.signals)
        ours: list[tuple[float, float, float]] = []
        bare: list[tuple[float, float]] = []
        barest: list[tuple[float, float]] = []
        for k in range(chosen.runs):
            bare.append(plain(url, wanted, T0 + 300 * (k + 1), collect=True))
            barest.append(plain(url, wanted, T0 + 300 * (k + 1), collect=False))
            mine.send(k)
            ours.append(mine.recv())
        peak = mine.recv()
        tenth = wanted[: max(1, chosen.signals // 10)]
        frames = [x * chosen.signals / len(tenth) for x in frame(url, tenth, T0)]
        load = os.getloadavg()[0]
        used = sum(file.stat().st_blocks * 512 for file in directory.iterdir())
    finally:
        worker.join(10)
        server.terminate()
        shutil.rmtree(directory)

    def over(peer: list[tuple[float, float]], of: int) -> float:
        return round(statistics.median(a[of] / b[of] for a, b in zip(ours, peer, strict=True)), 2)

    print(json.dumps({
        "nodes": chosen.nodes, "signals": chosen.signals, "series": chosen.nodes * chosen.signals * len(STATISTICS),
        "megabytes": round(size * chosen.signals / 1e6), "peak_megabytes": round(peak),
        "ring_megabytes_on_disk": round(used / 1e6), "load": round(load, 1), "wall_and_cpu_seconds": {
            "first pass": rounded([beginning[:2]]), "pass": rounded([x[:2] for x in ours]),
            "plain": rounded(bare), "plain, collector off": rounded(barest),
            "client's DataFrame, scaled": rounded([(frames[0], frames[1])]),
        },
        "cpu_seconds_in_the_ring": [round(x[2], 2) for x in ours],
        "wall": {"over_plain": over(bare, 0), "over_plain_collector_off": over(barest, 0)},
        "cpu": {"over_plain": over(bare, 1), "over_plain_collector_off": over(barest, 1),
                "over_dataframe": round(statistics.median(a[1] for a in ours) / frames[1], 2)},
    }))  # fmt: skip


def rounded(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(round(wall, 2), round(cpu, 2)) for wall, cpu in pairs]


if __name__ == "__main__":
    main()
