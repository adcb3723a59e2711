"""Every check of the doctor, in the order in which an operator reads them. A new one is a name here."""

from __future__ import annotations

from agent.doctor import host as place
from agent.doctor import nodes, telemetry
from agent.doctor.examine import FleetCheck, NodeCheck
from agent.doctor.forecast import check_forecast

FLEET_CHECKS: list[FleetCheck] = [
    place.check_settings,
    place.check_journal,
    place.check_archives,
    place.check_language_model,
    telemetry.check_telemetry,
    telemetry.check_signals,
    telemetry.check_clock,
    check_forecast,
    nodes.check_cpu,
]
NODE_CHECKS: list[NodeCheck] = [
    nodes.check_libvirt,
    nodes.check_certificate,
    nodes.check_hardware_log,
]
