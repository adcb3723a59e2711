"""What real exporters expose, in their own text, through the shipped queries of a real Prometheus.

The lines are those of the exporters' documentation and test fixtures: ipmi_exporter, node_exporter, the smartmon and
nvme textfile scripts, idrac_exporter, redfish_exporter and the DCGM exporter.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.observe.signals import TelemetryCache, read_signals
from models.forecast.limits.node import assess_node
from models.risk.risk import Risk
from models.risk.signal import SignalHistory
from tools.prometheus.metrics import PrometheusMetrics
from tools.prometheus.private_server import private_prometheus
from tools.signals import load_catalogue

pytestmark = pytest.mark.lab
END = 1_764_072_000.0
HOURS, STEP = 3, 60

# `A => B`: from ten minutes before the end on it reads B. Without it: always A.
EXPOSED = {
    "dell": """
        idrac_power_supply_health{id="0",status="OK"} 0 => 2
        idrac_power_supply_health{id="1",status="OK"} 0
        idrac_power_supply_input_voltage{id="0"} 232 => 0
        idrac_power_supply_input_voltage{id="1"} 232
        idrac_sensors_fan_health{id="0",name="FAN1A",status="OK"} 0
        idrac_sensors_temperature{id="0",name="Inlet Temp",units="celsius"} 19
        idrac_memory_module_health{id="DIMM.Socket.A2",status="OK"} 0
        idrac_drive_health{controller_id="AHCI.Slot.5-1",id="Disk.Direct.1-1:AHCI.Slot.5-1",status="OK"} 0
        idrac_cpu_health{id="CPU.Socket.1",status="OK"} 0
        idrac_network_port_health{id="NIC.Embedded.1-1",interface_id="NIC.Embedded.1",status=""} 10
    """,
    "redfish": """
        redfish_chassis_power_powersupply_health{chassis_id="1",power_supply="PSU1",power_supply_id="0",resource="power_supply"} 1
        redfish_chassis_temperature_celsius{chassis_id="1",resource="temperature",sensor="CPU1 Temp",sensor_id="0"} 61 => 101
        redfish_chassis_temperature_sensor_health{chassis_id="1",resource="temperature",sensor="CPU1 Temp",sensor_id="0"} 1 => 3
        redfish_chassis_fan_health{chassis_id="1",fan="Fan 1",fan_id="0",fan_unit="rpm",resource="fan"} 1
        redfish_system_memory_health_state{memory="DIMM A1",memory_id="A1",system_id="1"} 1
    """,
    "gpu": """
        DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-a8394b51",device="nvidia0",modelName="NVIDIA A100",Hostname="gpu"} 0 => 79
        DCGM_FI_DEV_XID_ERRORS{gpu="1",UUID="GPU-b8394b51",device="nvidia1",modelName="NVIDIA A100",Hostname="gpu"} 0 => 31
        DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-a8394b51",device="nvidia0",modelName="NVIDIA A100",Hostname="gpu"} 47
        DCGM_FI_DEV_ROW_REMAP_FAILURE{gpu="1",UUID="GPU-b8394b51",device="nvidia1",modelName="NVIDIA A100",Hostname="gpu"} 0
        DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{gpu="1",UUID="GPU-b8394b51",device="nvidia1",modelName="NVIDIA A100",Hostname="gpu"} 0
    """,
    "disks": """
        smartmon_device_smart_available{disk="/dev/sda",type="sat"} 1
        smartmon_device_smart_healthy{disk="/dev/sda",type="sat"} 1 => 0
        smartmon_device_smart_available{disk="/dev/sdb",type="scsi"} 0
        smartmon_device_smart_healthy{disk="/dev/sdb",type="scsi"} 0
        smartmon_reallocated_sector_ct_raw_value{disk="/dev/sda",type="sat",smart_id="5"} 8.000000e+00 => 1.200000e+01
        smartmon_current_pending_sector_raw_value{disk="/dev/sda",type="sat",smart_id="197"} 0.000000e+00
        nvme_critical_warning{device="/dev/nvme0n1"} 0 => 8
        nvme_media_errors_total{device="/dev/nvme0n1"} 0
        node_md_disks{device="md0",state="active"} 2 => 1
        node_md_disks{device="md0",state="failed"} 0
        node_md_disks{device="md0",state="spare"} 0
        node_md_disks_required{device="md0"} 2
        node_md_state{device="md0",state="inactive"} 0
    """,
    "host": """
        node_power_supply_info{power_supply="AC",type="Mains"} 1
        node_power_supply_online{power_supply="AC"} 1 => 0
        node_systemd_unit_state{name="rasdaemon.service",state="failed",type="notify"} 0 => 1
        node_hwmon_temp_celsius{chip="platform_coretemp_0",sensor="temp1"} 54
        node_hwmon_temp_crit_celsius{chip="platform_coretemp_0",sensor="temp1"} 100
        node_hwmon_chip_names{chip="platform_coretemp_0",chip_name="coretemp"} 1
        node_cpu_core_throttles_total{core="0",package="0"} 5
        node_edac_correctable_errors_total{controller="0"} 1
        ipmi_sensor_state{id="139",name="Power Cable",type="Cable/Interconnect"} 0 => 2
        ipmi_temperature_state{id="18",name="Inlet Temp"} 0
        ipmi_temperature_celsius{id="18",name="Inlet Temp"} 24
        ipmi_voltage_volts{id="2416",name="BB +12.0V"} 12.06 => 10.9
        ipmi_voltage_state{id="2416",name="BB +12.0V"} 0 => 2
    """,
}


def openmetrics() -> str:
    """Every exposed line of every node over HOURS, a sample every STEP seconds."""
    families: dict[str, list[str]] = {}
    for node, text in EXPOSED.items():
        for line in text.strip().splitlines():
            found = re.fullmatch(r"\s*(\w+)\{(.*)\} (\S+)(?: => (\S+))?", line)
            assert found is not None, line
            name, labels, before, after = found.groups()
            for k in range(HOURS * 3600 // STEP + 1):
                at = END - HOURS * 3600 + k * STEP
                value = after if after is not None and at > END - 600 else before
                families.setdefault(name, []).append(f'{name}{{instance="{node}:9100",{labels}}} {value} {at:.0f}')
    blocks = [f"# TYPE {name} gauge\n" + "\n".join(lines) for name, lines in families.items()]
    return "\n".join(blocks) + "\n# EOF\n"


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> list[SignalHistory]:
    file: Path = tmp_path_factory.mktemp("exporters") / "metrics.om"
    file.write_text(openmetrics(), encoding="utf-8")
    with private_prometheus(file) as url:
        metrics = PrometheusMetrics(url)
        read, unread = read_signals(metrics, load_catalogue(), datetime.fromtimestamp(END, UTC), 15.0, TelemetryCache())
        cadences = metrics.cadences(
            next(s for s in load_catalogue() if s.name == "psu_12v_volts"), at=datetime.fromtimestamp(END, UTC)
        )
        metrics.close()
    assert unread == []
    assert cadences == {"host": 60.0}
    return read


def risk_of(node: str, histories: list[SignalHistory]) -> Risk:
    return assess_node(node, histories, [], now=END)


@pytest.mark.parametrize(
    ("node", "drivers", "soon"),
    [
        ("dell", {"redfish_psu_status", "redfish_psu_input_volts"}, (0.1, 0.25)),
        ("redfish", {"redfish_temperature_status", "redfish_cpu_temperature_celsius"}, (0.5, 1.0)),
        ("gpu", {"gpu_fatal_xid"}, (0.1, 0.25)),
        ("disks", {"smartmon_status", "nvme_read_only", "nvme_cli_critical_warning", "raid_missing_disks"}, (0.25, 0.5)),
        ("host", {"mains_online", "psu_12v_volts", "rail_status", "hardware_log_service_failed", "hardware_sensor_status"},
         (0.9, 1.0)),
    ],
)  # fmt: skip
def test_what_an_exporter_shows_is_read_and_weighed(
    histories: list[SignalHistory], node: str, drivers: set[str], soon: tuple[float, float]
) -> None:
    risk = risk_of(node, histories)
    assert drivers <= {driver.signal for driver in risk.drivers}
    assert soon[0] < risk.probability["2h"] < soon[1], risk.drivers


def test_a_sample_is_a_scrape_and_dated_by_it(histories: list[SignalHistory]) -> None:
    (rail,) = (h for h in histories if h.signal.name == "psu_12v_volts")
    recent = rail.since(END - 1700)
    assert set((recent.times - END) % STEP) == {0.0}
    assert recent.times.size == 1700 // STEP + 1
    assert timedelta(seconds=float(recent.times[1] - recent.times[0])) == timedelta(seconds=STEP)


def test_what_is_well_says_nothing(histories: list[SignalHistory]) -> None:
    told = {(h.signal.name, h.part) for h in histories if h.node == "gpu"}
    assert ("gpu_fatal_xid", "1") in told, "Xid 31 is an application's error: read, and no fault"
    assert not any("sdb" in driver.why for driver in risk_of("disks", histories).drivers), (
        "SMART is not available there"
    )
