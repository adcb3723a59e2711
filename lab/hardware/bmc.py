"""One BMC per node: ipmi_sim with the sensors of `lab.hardware.sensors`, reading them from small files.

A BMC is a computer of its own on the management network: it has its own address on the lab's link in the root
namespace, and outlives its node (a dead node's SEL is still there to be read) unless the node lost its power.
ipmi_sim itself compares the readings with the thresholds and writes the SEL; nothing here does.
"""

from __future__ import annotations

import os
import secrets
import shlex
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.hardware.sensors import ANALOG, DISCRETE, SENSOR_NUMBER, THRESHOLDS, Analog, Discrete
from lab.nodes.node import Lab, LabNode, run, wait_until
from lab.nodes.processes import ProcessRef, tail

PORT = 623
"""The port every BMC listens on (RMCP's own), on an address of its own."""
USER = "lifeboat"
_MC = 0x20
_POLL_MS = 500
_SDR_VERSION = 0x51


@dataclass(frozen=True, kw_only=True)
class Bmc:
    """Where a node's BMC is and what opens it."""

    node: str
    address: str
    directory: Path
    password_file: Path
    port: int = PORT
    user: str = USER

    @property
    def sensor_dir(self) -> Path:
        return self.directory / "sensors"

    @property
    def pid_file(self) -> Path:
        return self.directory / "process"

    def ipmitool(self, *argv: str) -> list[str]:
        """The argv an operator would type to ask this BMC."""
        return [
            "ipmitool", "-I", "lanplus", "-C", "3", "-H", self.address, "-p", str(self.port), "-U", self.user,
            "-f", str(self.password_file), *argv,
        ]  # fmt: skip

    def process(self) -> ProcessRef | None:
        """Its ipmi_sim, dead or alive; None when it was never started."""
        try:
            pid, start = self.pid_file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return ProcessRef(int(pid), int(start))

    def alive(self) -> bool:
        process = self.process()
        return process is not None and process.alive()

    def kill(self) -> None:
        """The BMC goes dark, as when standby power is lost."""
        process = self.process()
        if process is not None:
            process.kill()


def of(lab: Lab, node: LabNode) -> Bmc:
    """The BMC of a node: host 10 above the node's own (10.77.7.11 → 10.77.7.21)."""
    host = int(node.address.rsplit(".", 1)[1]) + 10
    return Bmc(
        node=node.name,
        address=lab.host_address(host),
        directory=node.run_dir / "bmc",
        password_file=lab.root / "bmc-password",
    )


def write_reading(directory: Path, signal: str, raw: int) -> None:
    """Set what ipmi_sim will read for a signal. Raw byte for a threshold sensor, bits for a discrete one.

    Always four bytes written in one call: ipmi_sim may read at any moment and must never see half a number."""
    fd = os.open(directory / signal, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(fd, b"%-3d\n" % raw, 0)
    finally:
        os.close(fd)


def _init_byte() -> int:
    return 0x63  # initialise scanning and events; both on by default


def _header(kind: int, body: bytes) -> bytes:
    # Record id 0 lets ipmi_sim number the records itself; in the order of `SENSOR_NUMBER` they agree.
    return struct.pack("<HBBB", 0, _SDR_VERSION, kind, len(body)) + body


def _id_string(name: str) -> bytes:
    return bytes([0xC0 | len(name)]) + name.encode("ascii")  # 11b: 8-bit ASCII


def _signed(value: int, bits: int) -> int:
    return value & ((1 << bits) - 1)


def _mantissa(value: float, exponents: range) -> tuple[int, int]:
    """`value` as (10-bit mantissa, power of ten): the only numbers an SDR can hold."""
    for exponent in exponents:
        mantissa = value / 10.0**exponent
        if abs(mantissa - round(mantissa)) < 1e-6 and abs(mantissa) < 512:
            return round(mantissa), exponent
    raise ValueError(f"{value} does not fit an SDR's mantissa and exponent")


def full_record(sensor: Analog) -> bytes:
    """The sensor's full sensor record (IPMI v2.0, section 43.1).

    Reading = (M x raw + B x 10^Bexp) x 10^Rexp, with 10-bit signed M and B and 4-bit signed exponents."""
    number = SENSOR_NUMBER[sensor.signal]
    m, r_exp = _mantissa(sensor.step, range(2, -8, -1))
    b, b_exp = _mantissa(sensor.offset / 10.0**r_exp, range(7, -1, -1)) if sensor.offset else (0, 0)
    raw = {name: sensor.encode(value) for name, value in sensor.thresholds.items()}
    events = _event_bits(sensor)
    present = [name in raw for name in THRESHOLDS]
    lower = sum(1 << bit for bit in range(3) if present[bit])
    upper = sum(1 << bit for bit in range(3) if present[bit + 3])
    readable = lower | upper << 3
    m_bits, b_bits = _signed(m, 10), _signed(b, 10)
    instance = int(sensor.signal[3]) if sensor.signal[:3] in ("psu", "fan") else 1
    body = bytes(
        [
            _MC, 0, number, sensor.entity, instance, _init_byte(), 0x68, sensor.sensor_type, 0x01,
            *struct.pack("<HH", events | lower << 12, events | upper << 12), readable, readable,
            0x00, sensor.unit_code, 0x00, 0x00,
            m_bits & 0xFF, (m_bits >> 8) << 6, b_bits & 0xFF, (b_bits >> 8) << 6, 0x00,
            _signed(r_exp, 4) << 4 | _signed(b_exp, 4),
            0x00, 0, 0, 0, 0xFF, 0x00,
            raw.get("unr", 0), raw.get("ucr", 0), raw.get("unc", 0),
            raw.get("lnr", 0), raw.get("lcr", 0), raw.get("lnc", 0),
            sensor.hysteresis, sensor.hysteresis, 0, 0, 0,
        ]
    )  # fmt: skip
    return _header(0x01, body + _id_string(sensor.name))


def compact_record(sensor: Discrete) -> bytes:
    """The sensor's compact sensor record (IPMI v2.0, section 43.2), sensor-specific discrete."""
    number = SENSOR_NUMBER[sensor.signal]
    instance = int(sensor.signal[3]) if sensor.signal.startswith("psu") else 1
    body = bytes(
        [
            _MC, 0, number, sensor.entity, instance, _init_byte(), 0x40, sensor.sensor_type, 0x6F,
            *struct.pack("<HHH", 0x7FFF, 0x7FFF, 0x7FFF), 0xC0, 0x00, 0x00,
            0x01, 0x00, 0, 0, 0, 0, 0, 0,
        ]
    )  # fmt: skip
    return _header(0x02, body + _id_string(sensor.name))


def _event_bits(sensor: Analog) -> int:
    """Threshold event mask: lower thresholds going low (even bits), upper ones going high (odd bits)."""
    bits = 0
    for index, name in enumerate(THRESHOLDS):
        if name in sensor.thresholds:
            bits |= 1 << (2 * index + (1 if index >= 3 else 0))
    return bits


def commands(sensor_dir: Path) -> str:
    """The command file that builds the BMC inside ipmi_sim."""
    lines = [
        f"mc_setbmc {_MC:#x}",
        f"mc_add {_MC:#x} 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02",
        f"sel_enable {_MC:#x} 1000 0x0a",
    ]
    for sensor in ANALOG:
        number = SENSOR_NUMBER[sensor.signal]
        values = [sensor.encode(sensor.thresholds[n]) if n in sensor.thresholds else 0 for n in reversed(THRESHOLDS)]
        enabled = "".join("1" if name in sensor.thresholds else "0" for name in reversed(THRESHOLDS))
        mask = f"{_event_bits(sensor):015b}"
        where = f"{_MC:#x} 0 {number}"
        lines += [
            f"main_sdr_add {_MC:#x} " + " ".join(f"{byte:#x}" for byte in full_record(sensor)),
            f'sensor_add {where} {sensor.sensor_type} 1 poll {_POLL_MS} file "{sensor_dir / sensor.signal}"',
            f"sensor_set_threshold {where} settable {enabled} " + " ".join(f"{value:#x}" for value in values),
            f"sensor_set_hysteresis {where} settable {sensor.hysteresis} {sensor.hysteresis}",
            f"sensor_set_event_support {where} enable scanning per-state {mask} {mask} {mask} {mask}",
        ]
    for sensor in DISCRETE:
        where = f"{_MC:#x} 0 {SENSOR_NUMBER[sensor.signal]}"
        # ipmi_sim hangs on the poll option initstate; not reporting the healthy bits keeps its start out of the SEL.
        mask = f"{0x7FFF & ~sensor.initial:015b}"
        lines += [
            f"main_sdr_add {_MC:#x} " + " ".join(f"{byte:#x}" for byte in compact_record(sensor)),
            f'sensor_add {where} {sensor.sensor_type:#x} 0x6f poll {_POLL_MS} file "{sensor_dir / sensor.signal}"',
            f"sensor_set_event_support {where} enable scanning per-state {mask} {mask} {mask} {mask}",
        ]
    return "\n".join([*lines, f"mc_enable {_MC:#x}", ""])


def chassis_script(lab: Lab, node: LabNode) -> str:
    """What ipmi_sim runs for `chassis power status` and `chassis power off`.

    The node is on while its holder is the process it was. `off` is what a fencing agent would do: it kills the node."""
    holder = node.holder
    pid, start = (holder.pid, holder.start) if holder else (0, 0)
    off = shlex.join(
        [
            "env",
            f"PYTHONPATH={Path(__file__).parents[2]}",
            sys.executable,
            "-m",
            "lab.hardware.machine",
            lab.name,
            "--off",
            node.name,
        ]
    )
    return f"""#!/bin/sh
# called as: {node.name} get power | set power 0|1 | set reset 1 | ...
case "$2 $3 $4" in
"get power "*)
    case "$(cut -d' ' -f3,22 /proc/{pid}/stat 2>/dev/null)" in
    "Z {start}"|"X {start}") echo power:0 ;;
    *" {start}") echo power:1 ;;
    *) echo power:0 ;;
    esac ;;
"get boot "*) echo boot:default ;;
"set power 0") {off} ;;
"set boot "*|"set identify "*) ;;
*) echo "a lab node does not come back: lifeboat lab down, then up"; exit 1 ;;
esac
"""


def lan_config(bmc: Bmc, password: str) -> str:
    """The lan.conf of this BMC: one administrator, no anonymous user."""
    return f"""name "{bmc.node}"
set_working_mc {_MC:#x}
startlan 1
  addr {bmc.address} {bmc.port}
  priv_limit admin
  allowed_auths_callback md5
  allowed_auths_user md5
  allowed_auths_operator md5
  allowed_auths_admin md5
  guid a123456789abcdefa123456789abcdef
endlan
chassis_control "{bmc.directory}/chassis {bmc.node}"
user 1 false "" "" user 10 md5
user 2 true "{bmc.user}" "{password}" admin 20 md5
"""


def password(lab: Lab) -> str:
    """The lab's BMC password; made on first use, readable by its owner only."""
    path = lab.root / "bmc-password"
    with suppress(FileExistsError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(8))  # 16 characters: IPMI 1.5's longest
    return path.read_text()


def start(lab: Lab, node: LabNode) -> Bmc:
    """Start the node's BMC; its sensor files must be there already. Does not wait for it: see `wait_ready`."""
    bmc = of(lab, node)
    bmc.directory.mkdir(parents=True, exist_ok=True)
    state = bmc.directory / "state"
    (state / "ipmi_sim" / bmc.node).mkdir(parents=True, exist_ok=True)
    config, command_file = bmc.directory / "lan.conf", bmc.directory / "bmc.emu"
    config.touch(mode=0o600)
    config.write_text(lan_config(bmc, password(lab)))
    command_file.write_text(commands(bmc.sensor_dir))
    chassis = bmc.directory / "chassis"
    chassis.write_text(chassis_script(lab, node))
    chassis.chmod(0o755)
    run(["ip", "address", "replace", f"{bmc.address}/24", "dev", lab.link])  # gone with the lab's link
    pid = lab.spawn(
        ["ipmi_sim", "-n", "-c", str(config), "-f", str(command_file), "-s", str(state)],
        log=f"nodes/{node.name}/bmc/ipmi_sim.log",
    )
    process = ProcessRef.of(pid)
    if process is not None:
        bmc.pid_file.write_text(f"{process.pid} {process.start}")
    return bmc


def wait_ready(bmc: Bmc, *, seconds: float = 10) -> None:
    """Wait until the BMC answers over the network. Raises LabError with ipmi_sim's own words."""

    def answers() -> bool:
        return run(bmc.ipmitool("-N", "1", "-R", "1", "mc", "info"), check=False, timeout=10).returncode == 0

    log = bmc.directory / "ipmi_sim.log"
    wait_until(answers, seconds=seconds, what=f"the BMC of {bmc.node} answers ({tail(log) or 'it said nothing'})")
