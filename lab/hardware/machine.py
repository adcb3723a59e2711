"""The lab's simulated hardware, running: a BMC per node and one driver process that keeps every reading current.

`python -m lab.hardware.machine NAME` is the driver. Once a second it asks `lab.hardware.physics` for the readings of now and
writes them where real software reads them: the BMC's sensor files, node_exporter's textfile, the node's collected logs.
When a fault's time has come it kills the node.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lab.hardware import bmc, faults, kernel_log, sensors, series
from lab.hardware.bmc import Bmc
from lab.hardware.faults import State
from lab.hardware.kernel_log import Line, syslog
from lab.hardware.physics import Columns, readings
from lab.hardware.trajectory import TAKES_BMC, Fault
from lab.nodes.node import Lab, LabNode, run, wait_until
from lab.nodes.processes import ProcessRef
from models.errors import LabError

TICK_SECONDS = 1.0
_CATCH_UP_SECONDS = 120.0
_HEARTBEAT = "hardware.alive"


def start(lab: Lab) -> None:
    """Start every node's BMC and the driver; returns when all answer. Raises LabError with what did not."""
    state = faults.ensure(lab)
    bmc.password(lab)  # before threads ask for it
    now = np.array([time.time()])

    def bring_up(node: LabNode) -> None:
        machine = state.machine(node.name)
        (node.run_dir / "textfile").mkdir(parents=True, exist_ok=True)
        (node.run_dir / "log").mkdir(parents=True, exist_ok=True)
        at = bmc.of(lab, node)
        at.sensor_dir.mkdir(parents=True, exist_ok=True)
        columns = readings(machine, now, state.faults)
        _write_sensors(at, columns, {})
        _write_textfile(node, series.textfile(machine.boot_time, columns))
        bmc.start(lab, node)
        bmc.wait_ready(at)
        # The SEL's clock starts at zero, and its entries would be stamped "Pre-Init".
        run(["env", "TZ=UTC", *at.ipmitool("sel", "time", "set", "now")], where=node.name)  # "now" is local time
        # It polls every ten seconds; 1.8.19 ignores its timeout option.
        lab.spawn(["ipmievd", *at.ipmitool()[1:], "sel", "nodaemon"], log=f"nodes/{node.name}/bmc/events.log")

    with ThreadPoolExecutor(max_workers=len(lab.nodes)) as pool:
        list(pool.map(bring_up, lab.nodes.values()))
    (lab.root / _HEARTBEAT).unlink(missing_ok=True)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    pid = lab.spawn([sys.executable, "-m", "lab.hardware.machine", lab.name], log="hardware.log", env=env)
    driver = ProcessRef.of(pid)

    def running() -> bool:
        if driver is None or not driver.alive():
            raise LabError("the hardware driver ended", hint=f"see {lab.root / 'hardware.log'}")
        return heartbeat_age(lab) is not None

    wait_until(running, seconds=15, what="the hardware driver writes readings")


def heartbeat_age(lab: Lab) -> float | None:
    """Seconds since the driver last wrote all readings; None when it never did."""
    try:
        return time.time() - (lab.root / _HEARTBEAT).stat().st_mtime
    except FileNotFoundError:
        return None


def settings(lab: Lab, node: LabNode) -> dict[str, object]:
    """The part of lifeboat.yaml about a node's hardware: `bmc` and `hardware_logs`."""
    at = bmc.of(lab, node)
    return {
        "hardware_logs": [str(node.run_dir / "log/kern.log")],  # beside it lie the lab's own programs' logs
        "bmc": {
            "address": at.address, "port": at.port, "user": at.user, "password_file": str(at.password_file),
        },
    }  # fmt: skip


def _write_sensors(at: Bmc, columns: Columns, last: dict[str, int]) -> None:
    """Write what changed since `last`, which is brought up to date."""
    for sensor in sensors.ANALOG:
        _write_sensor(at, sensor.signal, sensor.encode(float(columns[sensor.signal][0])), last)
    for sensor in sensors.DISCRETE:
        _write_sensor(at, sensor.signal, int(columns[sensor.signal][0]), last)


def _write_sensor(at: Bmc, signal: str, raw: int, last: dict[str, int]) -> None:
    if last.get(signal) != raw:
        bmc.write_reading(at.sensor_dir, signal, raw)
        last[signal] = raw


def _write_textfile(node: LabNode, text: str) -> None:
    """Replace what node_exporter serves in one step: it must never read half a file."""
    directory = node.run_dir / "textfile"
    temporary = directory / "hardware.prom.new"
    temporary.write_text(text)
    temporary.replace(directory / "hardware.prom")


def _append(path: Path, lines: Iterable[str]) -> None:
    text = "".join(lines)
    if text:
        with path.open("a") as file:
            file.write(text)


@dataclass
class _NodeDriver:
    lab: Lab
    node: LabNode
    bmc: Bmc
    logged_until: float
    raw: dict[str, int] = field(default_factory=dict[str, int])
    events_read: int = 0

    def tick(self, state: State, now: float) -> None:
        """Everything of now. A dead node's BMC goes on, its kernel and exporters do not."""
        machine = state.machine(self.node.name)
        columns = readings(machine, np.array([now]), state.faults)
        _write_sensors(self.bmc, columns, self.raw)
        self.log_bmc(now)
        if self.node.name not in state.killed and self.node.alive():
            _write_textfile(self.node, series.textfile(machine.boot_time, columns))
            self.log_kernel(state, now)

    def log_kernel(self, state: State, now: float) -> None:
        until = np.floor(now)
        since = max(self.logged_until, until - _CATCH_UP_SECONDS)
        machine = state.machine(self.node.name)
        lines = kernel_log.lines(machine, state.faults, since, until)
        self.logged_until = until
        self._write_kernel(lines, machine.boot_time)

    def log_boot(self, state: State, now: float) -> None:
        machine = state.machine(self.node.name)
        if not (self.node.run_dir / "log/kern.log").exists():
            self._write_kernel(kernel_log.boot_lines(now), machine.boot_time)
            (self.node.run_dir / "log/bmc.log").touch()

    def _write_kernel(self, lines: list[Line], boot_time: float) -> None:
        _append(
            self.node.run_dir / "log/kern.log",
            (syslog(line, self.node.name, "kernel", line.time - boot_time) for line in lines),
        )

    def log_bmc(self, now: float) -> None:
        """Pass on what ipmievd wrote about new SEL entries, as a syslog server would have received it."""
        try:
            with (self.bmc.directory / "events.log").open("rb") as file:
                file.seek(self.events_read)
                new = file.read()
        except FileNotFoundError:
            return
        whole = new[: new.rfind(b"\n") + 1]
        self.events_read += len(whole)
        prefix = f"{self.bmc.address}: "
        texts = [line for line in whole.decode("utf-8", "replace").splitlines() if line.startswith(prefix)]
        _append(
            self.node.run_dir / "log/bmc.log",
            (syslog(Line(now, text.removeprefix(prefix)), self.node.name, "ipmievd") for text in texts),
        )


def _due(state: State, now: float) -> list[Fault]:
    """Faults whose node must die now, one for each node."""
    return list(
        {
            fault.node: fault for fault in state.faults if fault.node not in state.killed and fault.phase(now) == "dead"
        }.values()
    )


def kill(lab: Lab, node: LabNode, *, with_bmc: bool) -> None:
    """The node dies: network, libvirtd, guests and exporters at once; `with_bmc` also its BMC."""
    from lab.nodes.power import kill_node  # it needs what the driver otherwise never loads

    if with_bmc:
        bmc.of(lab, node).kill()
    kill_node(lab, node.name)


def drive(lab: Lab) -> None:
    """Keep the hardware of a lab running until killed."""
    now = time.time()
    drivers = {
        name: _NodeDriver(lab, node, bmc.of(lab, node), logged_until=np.floor(now)) for name, node in lab.nodes.items()
    }
    state = faults.load(lab)
    for driver in drivers.values():
        driver.log_boot(state, now)
    while True:
        now = time.time()
        state = faults.load(lab)
        for fault in _due(state, now):
            driver = drivers[fault.node]
            driver.log_kernel(state, max(now, float(np.ceil(fault.death_at or now)) + 1.0))
            # Recorded first: a driver killed in between must not kill a node that was brought up again since.
            with faults.update(lab) as current:
                current.killed[fault.node] = now
                state = current
            try:
                kill(lab, driver.node, with_bmc=fault.kind in TAKES_BMC)
            except LabError as error:  # the other nodes' hardware must go on
                sys.stderr.write(f"{fault.node} should have died of {fault.kind}: {error}\n")
            else:
                sys.stderr.write(f"{fault.node} died of {fault.kind}\n")
        for driver in drivers.values():
            driver.tick(state, now)
        (lab.root / _HEARTBEAT).touch()
        time.sleep(TICK_SECONDS - time.time() % TICK_SECONDS)


def power_off(lab: Lab, node: LabNode) -> None:
    """Switch a node off, as its BMC does when told to: everything on it ends at once, its BMC stays."""
    with faults.update(lab) as state:
        state.killed.setdefault(node.name, time.time())
    kill(lab, node, with_bmc=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.hardware.machine", description="Drive the hardware of a lab.")
    parser.add_argument("lab", help="the lab's name")
    parser.add_argument("--off", metavar="NODE", help="switch a node off instead")
    arguments = parser.parse_args()
    lab = Lab.load(arguments.lab, partial=True)
    if arguments.off:
        power_off(lab, lab.node(arguments.off))
    else:
        drive(lab)


if __name__ == "__main__":
    main()
