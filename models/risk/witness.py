"""By which ways word of a fault reaches lifeboat."""

from __future__ import annotations

from enum import StrEnum


class Witness(StrEnum):
    """One way. Who forges what comes by one of them does not thereby have another."""

    BMC_METRICS = "bmc-metrics"
    """metrics of an exporter that asks the BMC: ipmi_exporter, idrac_exporter, redfish_exporter"""
    HOST_METRICS = "host-metrics"
    """metrics of an exporter that runs on the node: node_exporter, smartctl_exporter …"""
    BMC_LOG = "bmc-log"
    """the SEL, read from the BMC"""
    HOST_LOG = "host-log"
    """what the node's kernel and daemons write, and whatever else comes with these lines"""


_ASKS_THE_BMC = ("ipmi_exporter", "idrac_exporter", "redfish_exporter")


def witness_of(exporter: str) -> Witness:
    """By which way an exporter's series come. Example: `ipmi_exporter` → `bmc-metrics`."""
    return Witness.BMC_METRICS if any(name in exporter for name in _ASKS_THE_BMC) else Witness.HOST_METRICS
