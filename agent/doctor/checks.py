"""Every check of the doctor, in the order in which an operator reads them. A new one is a name here."""

from __future__ import annotations

from agent.doctor import host, nodes, telemetry
from agent.doctor.approval import check_approvers, check_slack
from agent.doctor.database import check_database
from agent.doctor.examine import FleetCheck, NodeCheck
from agent.doctor.forecast import check_forecast

FLEET_CHECKS: list[FleetCheck] = [
    host.check_settings,
    host.check_journal,
    check_database,
    host.check_archives,
    host.check_language_model,
    check_approvers,
    check_slack,
    telemetry.check_telemetry,
    telemetry.check_collector,
    telemetry.check_signals,
    telemetry.check_clock,
    check_forecast,
    nodes.check_cpu,
]
NODE_CHECKS: list[NodeCheck] = [
    nodes.check_libvirt,
    nodes.check_identities,
    nodes.check_certificate,
    nodes.check_hardware_log,
]
