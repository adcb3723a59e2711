"""What `lifeboat run` takes at fleet size: memory, processor between passes and in them, and from its start until it is ready.

    ./dev bench service [--nodes 1000] [--guests 5] [--signals 66] [--seconds 180]

It is started twice: the first time there is a day of summaries to read, then there is what its ring kept.

The agent is the real one, in a process of its own, on the machine's clock; its nodes are SIMULATED within that process (what they
take is told apart), and a stub on loopback stands for Prometheus. Memory is the resident set (RSS), as the kernel tells it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

from bench.simulated_prometheus import FleetTelemetry, serving

_LOOK_SECONDS = 0.05
_PATIENCE_SECONDS = 300
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--guests", type=int, default=5, help="of each node")
    parser.add_argument("--signals", type=int, default=66, help="that each node exposes")
    parser.add_argument("--seconds", type=float, default=180.0, help="watched after the first look")
    parser.add_argument("--interval", default="30s")
    chosen = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="lifeboat-bench-"))
    nodes = tuple(f"node-{n:04d}" for n in range(chosen.nodes))
    try:
        with serving(FleetTelemetry(nodes=nodes, signals=chosen.signals)) as url:
            first = measured(directory, nodes, url, chosen.guests, 5.0, chosen.interval)
            found = measured(directory, nodes, url, chosen.guests, chosen.seconds, chosen.interval)
    finally:
        shutil.rmtree(directory)
    print(json.dumps({
        "nodes": chosen.nodes, "guests": chosen.nodes * chosen.guests, "signals": chosen.signals, "interval": chosen.interval,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs", "load": round(os.getloadavg()[0], 1),
        "first start": {what: first[what] for what in ("ready_seconds", "first_look_seconds", "rss_megabytes")},
        "started again": found,
    }, indent=1))  # fmt: skip


def write_settings(directory: Path, nodes: tuple[str, ...], url: str, port: int, interval: str) -> Path:
    file = directory / "lifeboat.yaml"
    listed = "".join(f"  - {{name: {name}, libvirt_uri: 'simulated:///'}}\n" for name in nodes)
    file.write_text(
        f"state_dir: {directory}/state\nsimulated: true\ninterval: {interval}\nstatus: {{port: {port}}}\n"
        f"prometheus: {{url: '{url}'}}\nnodes:\n{listed}"
    )
    (directory / "state").mkdir(mode=0o700, exist_ok=True)
    return file


def measured(
    directory: Path, nodes: tuple[str, ...], url: str, guests: int, seconds: float, interval: str
) -> dict[str, object]:
    """Start it, wait until it is ready and until its first look ended, watch it, end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = write_settings(directory, nodes, url, port, interval)
    command = [sys.executable, "-m", "bench.simulated_agent", str(guests), "run", "--config", str(settings)]
    began = time.monotonic()
    with (directory / "log").open("wb") as log:
        agent = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        ready = _until_ready(agent, port, began, directory / "log")
        at_ready = rss(agent.pid)
        looked = _until_looked(agent, port, began, directory / "log")
        passes = [_get(port, "/metrics")[0]]
        samples: list[tuple[float, float, int, int]] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            samples.append((time.monotonic(), cpu(agent.pid), rss(agent.pid), own(agent.pid)))
            time.sleep(_LOOK_SECONDS)
        metrics = sorted(_get(port, "/metrics")[1] for _ in range(9))[4]
        page = sorted(_get(port, "/")[1] for _ in range(9))[4]
        passes.append(_get(port, "/metrics")[0])
        threads = int(_status(agent.pid, "Threads"))
        peak = int(_status(agent.pid, "VmHWM").split()[0]) * 1024 / 1e6
    finally:
        agent.terminate()
        ended = agent.wait(60)
    count, working = (_passed(passes[1], what) - _passed(passes[0], what) for what in ("_count", "_sum"))
    used = samples[-1][1] - samples[0][1]
    between = _between(samples)

    def median(of: int) -> int:
        return round(sorted(sample[of] for sample in samples)[len(samples) // 2] / 1e6)

    return {
        "fleet_alone_megabytes": round(fleet_alone(nodes, guests)),
        "ready_seconds": round(ready, 2), "first_look_seconds": round(looked, 1),
        "rss_megabytes": {
            "at ready": round(at_ready / 1e6), "between passes": median(2), "between passes, without files": median(3),
            "peak": round(peak),
        },
        "cpu_percent_of_a_core": {"between passes": between, "all in all": round(100 * used / seconds, 1)},
        "passes": count, "seconds_a_pass": round(working / count, 2) if count else None,
        "cpu_seconds_a_pass": round(used / count, 2) if count else None,
        "metrics_milliseconds": round(1000 * metrics, 1), "page_milliseconds": round(1000 * page, 1),
        "threads": threads, "exit": ended,
    }  # fmt: skip


def _between(samples: list[tuple[float, float, int, int]]) -> float:
    """Percent of a core in the quieter part of the time: whole seconds in which less than half a core was used, by median."""
    shares: list[float] = []
    for k in range(0, len(samples) - 20, 20):
        (at, used, *_), (later, more, *_) = samples[k], samples[k + 20]
        shares.append((more - used) / (later - at))
    quiet = [share for share in shares if share < 0.5]
    return round(100 * sum(quiet) / len(quiet), 1) if quiet else 100.0


def _until_ready(agent: subprocess.Popen[bytes], port: int, began: float, log: Path) -> float:
    while True:
        if agent.poll() is not None:
            raise SystemExit(f"it ended before it was ready:\n{log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return time.monotonic() - began
        except (URLError, OSError):
            if time.monotonic() - began > _PATIENCE_SECONDS:
                raise SystemExit(f"not ready after {_PATIENCE_SECONDS} s:\n{log.read_text()[-3000:]}") from None
            time.sleep(_LOOK_SECONDS)


def _until_looked(agent: subprocess.Popen[bytes], port: int, began: float, log: Path) -> float:
    """Seconds from its start until the first pass that could look had ended."""
    while True:
        if agent.poll() is not None:
            raise SystemExit(f"it ended before it had looked:\n{log.read_text()[-3000:]}")
        since = _value(_get(port, "/metrics")[0], "lifeboat_last_look_age_seconds")
        if since != float("inf"):
            return time.monotonic() - began - since
        if time.monotonic() - began > _PATIENCE_SECONDS:
            raise SystemExit(f"no look ended within {_PATIENCE_SECONDS} s:\n{log.read_text()[-3000:]}")
        time.sleep(10 * _LOOK_SECONDS)


def _get(port: int, path: str) -> tuple[str, float]:
    began = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return answer.read().decode(), time.perf_counter() - began


def _passed(metrics: str, what: str) -> float:
    return _value(metrics, f"lifeboat_pass_duration_seconds{what}")


def _value(metrics: str, series: str) -> float:
    name = f"{series} "
    return next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith(name))


def cpu(pid: int) -> float:
    """Seconds that a process has been on the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss(pid: int) -> int:
    """Bytes that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def own(pid: int) -> int:
    """Of these, what is no page of a file: of a program, or of the ring on disk, which the kernel takes back when it has to."""
    whole, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
    return (int(whole) - int(shared)) * _PAGE


def _status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(field))


def fleet_alone(nodes: tuple[str, ...], guests: int) -> float:
    """Megabytes of the simulated fleet, which no real agent holds: made in a process that does nothing else."""
    code = (
        "import os; from bench.simulated_agent import populated; from bench.service import rss\n"
        f"from tools.clock import SystemClock; before = rss(os.getpid())\n"
        f"fleet = populated({list(nodes)!r}, {guests}, SystemClock())\n"
        "print((rss(os.getpid()) - before) / 1e6)"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
