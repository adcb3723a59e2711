"""`lifeboat run` in a process of its own. All about it is real but its nodes, which are SIMULATED, and its Prometheus."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scenes.stub_prometheus import Reply, constant, matrix

ROOT = Path(__file__).parents[2]
NODES = ("a", "b", "c")
POLICY = {
    "approval": dict.fromkeys(("live_migrate", "cold_migrate", "cold_archive"), "auto"),
    "stopping": {"witnesses": 1},  # the kernel's log is all there is
    "storm": {"max_risky_fraction": 0.5},
}
_PATIENCE_SECONDS = 300.0


def telemetry(parameters: Mapping[str, str]) -> Reply:
    """Every node reports a temperature that is none to worry about."""
    if "hwmon_temp" not in parameters.get("query", "") or "step" not in parameters:
        return matrix()
    return constant(*(({"instance": node, "chip": "cpu", "sensor": "temp1"}, "40") for node in NODES))(parameters)


def failing_memory(node: str) -> str:
    """What a kernel logs when its memory goes: eight errors nobody can correct, the last a minute ago."""
    where = "on CPU_SrcID#0_MC#0_Chan#0_DIMM#0 (channel:0 slot:0 page:0x0 offset:0x0 grain:32 syndrome:0x0)"
    times = (datetime.now(UTC) - timedelta(minutes=8 - minute) for minute in range(8))
    return "".join(
        f"{at.isoformat(timespec='seconds')} {node} kernel: EDAC MC0: 1 UE memory read error {where}\n" for at in times
    )


def write_settings(directory: Path, prometheus: str, **more: Any) -> Path:
    """Three nodes, each with a kernel log in `directory`; the policy lets lifeboat act by itself. `more`: of lifeboat.yaml."""
    directory.mkdir(parents=True, exist_ok=True)
    for node in NODES:
        (directory / f"{node}.log").touch()
    (directory / "policy.yaml").write_text(json.dumps(POLICY))
    nodes = [
        {"name": node, "libvirt_uri": "qemu:///system", "hardware_logs": [str(directory / f"{node}.log")]}
        for node in NODES
    ]
    settings = {
        "nodes": nodes,
        "prometheus": {"url": prometheus, "scrape_interval_seconds": 5},
        "state_dir": str(directory / "state"),
        "archive_url": f"file://{directory}/archives",
        "policy_file": str(directory / "policy.yaml"),
        "interval": "1s",
        "simulated": True,
        "log": {"format": "json"},
        **more,
    }
    file = directory / "lifeboat.yaml"
    file.write_text(json.dumps(settings))
    return file


@dataclass
class RunProcess:
    """One that was started, and what it has said so far."""

    settings: Path
    output: Path
    process: subprocess.Popen[Any]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log of that event."""
        found: list[dict[str, Any]] = []
        for line in self.output.read_text().splitlines():
            if line.startswith("{") and line.endswith("}"):
                one = json.loads(line)
                if one.get("event") == event:
                    found.append(one)
        return found

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """What it came to once it holds. Fails when the process ends before."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (found := holds()):
            assert self.process.poll() is None, f"it ended before {what}:\n{self.output.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"no {what}:\n{self.output.read_text()[-4000:]}"
            time.sleep(0.05)
        return found

    def until_said(self, event: str, **fields: Any) -> dict[str, Any]:
        """The first line of that event with these fields."""

        def said() -> dict[str, Any] | None:
            return next((line for line in self.lines(event) if fields.items() <= line.items()), None)

        return self.until(said, f"line {event} {fields}")

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def end(self) -> str:
        """Tell it to stop; all it has said. Fails where it does not end well, or told of a fault of its own."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(_PATIENCE_SECONDS)
        text = self.output.read_text()
        assert code == 0, text
        assert "Traceback" not in text, text
        return text


def command(*arguments: str) -> list[str]:
    """`lifeboat` on simulated nodes: those of the settings, with a guest each, and a fast network between them."""
    return [sys.executable, "-m", "scenes.run_process", *arguments]


@contextmanager
def lifeboat_run(settings: Path, **process: Any) -> Generator[RunProcess]:
    """For as long as the block runs; killed at its end where it was not told to end."""
    output = settings.parent / f"output-{time.monotonic_ns()}"
    with output.open("wb") as out:
        started = subprocess.Popen(
            command("run", "--config", str(settings)),
            cwd=ROOT / "tests",
            env=_environment(),
            stdout=out,
            stderr=out,
            **process,
        )
    try:
        yield RunProcess(settings, output, started)
    finally:
        started.kill()
        started.wait(_PATIENCE_SECONDS)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "COLUMNS": "1000"}


def _main() -> None:
    import tools.journal
    from agent.cli.main import main
    from bench.simulated_agent import populated, put_in_place
    from tools.clock import SystemClock

    tools.journal.AWAY_SECONDS = 3.0  # patience with a database: shorter than in earnest
    sys.argv[0] = "lifeboat"
    fleet = populated(NODES, 1, SystemClock())
    for machine in fleet.machines.values():
        machine.node = machine.node.model_copy(update={"migration_bytes_per_second": 1e9})
    put_in_place(fleet)
    main()


if __name__ == "__main__":
    _main()
