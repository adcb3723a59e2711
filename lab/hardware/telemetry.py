"""The lab's telemetry: real exporters on every node, one ipmi exporter for all BMCs, one real Prometheus.

Everything that listens does so on an address of the lab's own network, so labs with other names don't collide.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from lab.hardware import bmc, faults, history
from lab.hardware.series import Job
from lab.nodes.node import Lab, LabNode, wait_until
from lab.nodes.processes import tail
from models.errors import LabError

PROMETHEUS_PORT, NODE_PORT, LIBVIRT_PORT, IPMI_PORT = 9090, 9100, 9177, 9290
SCRAPE_SECONDS = 5
JOBS: tuple[Job, ...] = ("node", "libvirt", "ipmi")

# What the textfile stands in for is off, and what tells nothing about a node that shares this machine with two others.
_COLLECTORS = ("textfile", "loadavg", "meminfo", "time", "uname")


def start(lab: Lab) -> None:
    """Backfill the history, start exporters and Prometheus, and wait until every target was scraped once.

    Raises LabError naming the target that stays down. Needs libvirtd and the BMCs to be up soon."""
    directory = lab.root / "prometheus"
    directory.mkdir(parents=True, exist_ok=True)
    faults.ensure(lab)
    for node in lab.nodes.values():
        _start_exporters(node)
    _start_ipmi_exporter(lab)
    history.backfill(lab, directory / "data", lambda node, job: target_labels(lab, node, job), end=time.time())
    (directory / "prometheus.yml").write_text(yaml.safe_dump(_prometheus_config(lab), sort_keys=False))
    lab.spawn(
        [
            "prometheus",
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={lab.gateway}:{PROMETHEUS_PORT}",
            "--web.enable-lifecycle",
            "--log.level=warn",
        ],
        log="prometheus.log",
        env={**os.environ, "GOMAXPROCS": "1"},
    )
    seen: list[TargetStatus] = []

    def all_up() -> bool:
        try:
            seen[:] = status(lab).targets
        except LabError:
            return False
        return len(seen) == len(JOBS) * len(lab.nodes) and all(target.up for target in seen)

    try:
        wait_until(all_up, seconds=90, what="every Prometheus target is up", every=0.2)
    except LabError as error:
        down = ", ".join(f"{target.job} of {target.node} ({target.error})" for target in seen if not target.up)
        words = down or tail(lab.root / "prometheus.log") or "Prometheus says nothing"
        raise LabError(f"{error.message}: {words}") from None


def settings(lab: Lab) -> dict[str, object]:
    """The `prometheus` section of lifeboat.yaml."""
    return {"url": url(lab), "node_label": "node", "scrape_interval_seconds": SCRAPE_SECONDS}


def url(lab: Lab) -> str:
    return f"http://{lab.gateway}:{PROMETHEUS_PORT}"


def target_labels(lab: Lab, node: str, job: Job) -> dict[str, str]:
    """The labels Prometheus gives to what it scrapes of a node in a job."""
    return {"node": node, "job": job, "instance": _instance(lab, lab.node(node), job)}


def _instance(lab: Lab, node: LabNode, job: Job) -> str:
    match job:
        case "node":
            return f"{node.address}:{NODE_PORT}"
        case "libvirt":
            return f"{node.address}:{LIBVIRT_PORT}"
        case "ipmi":
            return bmc.of(lab, node).address


def _start_exporters(node: LabNode) -> None:
    textfiles = node.run_dir / "textfile"
    textfiles.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "GOMAXPROCS": "1"}
    node.spawn(
        [
            "prometheus-node-exporter",
            f"--web.listen-address={node.address}:{NODE_PORT}",
            "--web.disable-exporter-metrics",
            "--collector.disable-defaults",
            *(f"--collector.{name}" for name in _COLLECTORS),
            f"--collector.textfile.directory={textfiles}",
        ],
        log="node_exporter.log",
        env=env,
    )
    node.spawn(
        ["prometheus-libvirt-exporter", f"--web.listen-address={node.address}:{LIBVIRT_PORT}"],
        log="libvirt_exporter.log",
        env=env,
    )


def _start_ipmi_exporter(lab: Lab) -> None:
    config = lab.root / "ipmi_exporter.yml"
    config.touch(mode=0o600)  # it holds the BMCs' password
    module = {
        "user": bmc.USER,
        "pass": bmc.password(lab),
        "privilege": "admin",
        "timeout": 4000,
        "collectors": ["ipmi", "sel", "bmc", "chassis"],
        # IPMI 1.5 takes a second a session here, 2.0 a tenth; ipmi_sim's RMCP+ needs this to open one.
        "driver": "LAN_2_0",
        "workaround_flags": ["opensesspriv"],
    }
    config.write_text(yaml.safe_dump({"modules": {"default": module}}))
    scratch = lab.root / "ipmi_exporter"
    scratch.mkdir(exist_ok=True)
    lab.spawn(
        [
            "prometheus-ipmi-exporter",
            f"--config.file={config}",
            f"--web.listen-address={lab.gateway}:{IPMI_PORT}",
            "--log.level=error",
        ],
        log="ipmi_exporter.log",
        # FreeIPMI caches SDRs below HOME, the exporter leaves pipes in TMPDIR: both go with the lab.
        env={**os.environ, "GOMAXPROCS": "1", "HOME": str(scratch), "TMPDIR": str(scratch)},
    )


def _prometheus_config(lab: Lab) -> dict[str, object]:
    def targets(job: Job) -> list[dict[str, object]]:
        return [{"targets": [_instance(lab, node, job)], "labels": {"node": node.name}} for node in lab.nodes.values()]

    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{SCRAPE_SECONDS - 1}s"},
        "scrape_configs": [
            {"job_name": "node", "static_configs": targets("node")},
            {"job_name": "libvirt", "static_configs": targets("libvirt")},
            {
                "job_name": "ipmi",
                "metrics_path": "/ipmi",
                "static_configs": targets("ipmi"),
                "relabel_configs": [
                    {"source_labels": ["__address__"], "target_label": "__param_target"},
                    {"source_labels": ["__address__"], "target_label": "instance"},
                    {"target_label": "__address__", "replacement": f"{lab.gateway}:{IPMI_PORT}"},
                ],
            },
        ],
    }


@dataclass(frozen=True)
class TargetStatus:
    """One scrape target as Prometheus sees it."""

    job: str
    node: str
    up: bool
    error: str
    age_seconds: float | None
    """Since the last scrape; None before the first."""
    scrape_seconds: float


@dataclass(frozen=True)
class TelemetryStatus:
    url: str
    targets: tuple[TargetStatus, ...]


def status(lab: Lab, *, timeout: float = 3.0) -> TelemetryStatus:
    """What Prometheus reports about its targets. Raises LabError when it doesn't answer within `timeout` seconds."""
    connection = http.client.HTTPConnection(lab.gateway, PROMETHEUS_PORT, timeout=timeout)
    try:
        connection.request("GET", "/api/v1/targets?state=active")
        data: dict[str, Any] = json.load(connection.getresponse())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise LabError(f"Prometheus at {url(lab)} does not answer: {error}") from None
    finally:
        connection.close()
    now = time.time()
    return TelemetryStatus(url(lab), tuple(_target(entry, now) for entry in data["data"]["activeTargets"]))


def _target(entry: dict[str, Any], now: float) -> TargetStatus:
    last = datetime.fromisoformat(_cut_nanoseconds(entry["lastScrape"])).timestamp()
    return TargetStatus(
        job=entry["labels"]["job"],
        node=entry["labels"]["node"],
        up=entry["health"] == "up",
        error=entry["lastError"],
        age_seconds=now - last if last > 0 else None,
        scrape_seconds=entry["lastScrapeDuration"],
    )


def _cut_nanoseconds(stamp: str) -> str:
    """Go writes nine digits of a second, and year 1 for never; Python reads six."""
    if "." not in stamp:
        return stamp.replace("0001-", "1970-", 1)
    head, rest = stamp.split(".", 1)
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return f"{head}.{digits[:6]}{rest[len(digits) :]}"
