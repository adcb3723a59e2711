"""A Prometheus of one's own over one OpenMetrics file: on loopback, in a directory that goes when it ends."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import requests

from models.errors import MetricsUnavailable

MOST_BYTES = 512 << 20
"""A larger file is not read: it would take minutes."""
_BACKFILL_SECONDS = 240
_START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_TRIES = 3
"""A port that was free may be taken a moment later."""


@contextmanager
def private_prometheus(openmetrics: Path) -> Generator[str]:
    """The URL of a Prometheus that holds the samples of that file (OpenMetrics with timestamps), until the block ends.

    Raises MetricsUnavailable when promtool refuses the file, or when promtool or prometheus is missing or does not start.
    """
    if openmetrics.stat().st_size > MOST_BYTES:
        size = openmetrics.stat().st_size >> 20
        raise MetricsUnavailable(
            f"{openmetrics.name} is {size} MiB long, more than the {MOST_BYTES >> 20} MiB that are read",
            hint="cut it to the last day and the nodes in question",
        )
    with tempfile.TemporaryDirectory(prefix="lifeboat-evidence-") as home:
        data = Path(home) / "data"
        _backfill(openmetrics, data)
        (Path(home) / "prometheus.yml").write_text("{}\n")
        server, url = _start(Path(home), data)
        try:
            yield url
        finally:
            server.kill()  # nothing of it is to be kept
            server.wait()


def _backfill(openmetrics: Path, data: Path) -> None:
    command = [
        "promtool", "tsdb", "create-blocks-from",
        # promtool reads the whole file once a block.
        "--max-block-duration=24h", "openmetrics", "--quiet", str(openmetrics), str(data),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_BACKFILL_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        raise MetricsUnavailable("promtool is not installed", hint="install the package prometheus") from None
    except subprocess.TimeoutExpired:
        raise MetricsUnavailable(
            f"promtool was not done with {openmetrics.name} within {_BACKFILL_SECONDS} s", hint="cut it to the last day"
        ) from None
    if done.returncode != 0:
        why = " ".join((done.stderr or done.stdout).replace(str(openmetrics), openmetrics.name).split())[-300:]
        raise MetricsUnavailable(
            f"promtool refuses {openmetrics.name}: {why or f'exit code {done.returncode}'}",
            hint="it must be OpenMetrics with a time on every sample, ended by `# EOF`",
        )


def _start(home: Path, data: Path) -> tuple[subprocess.Popen[bytes], str]:
    data.mkdir(exist_ok=True)
    why = ""
    for _ in range(_TRIES):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        log = home / "prometheus.log"
        command = [
            "prometheus", f"--config.file={home / 'prometheus.yml'}", f"--storage.tsdb.path={data}",
            f"--web.listen-address={address}", "--storage.tsdb.retention.time=100y", "--log.level=warn",
        ]  # fmt: skip
        try:
            with log.open("wb") as out:
                server = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=home)
        except FileNotFoundError:
            raise MetricsUnavailable("prometheus is not installed", hint="install the package prometheus") from None
        if _is_ready(server, f"http://{address}"):
            return server, f"http://{address}"
        server.kill()
        server.wait()
        why = " ".join(log.read_text(errors="replace").split())[-200:]
    raise MetricsUnavailable(f"a private prometheus did not start: {why}", hint="run `prometheus --version`")


def _is_ready(server: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if requests.get(f"{url}/-/ready", timeout=1.0).status_code == 200:
                return True
        except requests.RequestException:
            pass
        time.sleep(_POLL_SECONDS)
    return False
