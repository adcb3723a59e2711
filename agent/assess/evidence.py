"""Judge an evidence folder as the live sources would have been judged: the same signals, logs, risks and tiers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.assess.assess import assess
from agent.assess.tiers import Tiers
from agent.observe.evidence import Evidence, open_evidence
from agent.observe.observation import Observation, UnreadSource
from agent.observe.observe import observe
from models.errors import LifeboatError, MetricsUnavailable
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.risk.signal import HardwareEvent
from models.risk.tier import NodeTier
from models.situation import Situation

PATIENCE_SECONDS = 300.0
"""How long its logs may take: nobody waits for a rescue here."""


def judge_evidence(
    directory: Path, policy: Policy, *, at: datetime | None = None, signals_file: Path | None = None
) -> dict[str, Any]:
    """What is worth doing with each node of the folder, as `lifeboat assess --evidence --json` prints it.

    Raises BadInput as `open_evidence` does, and for a signals file that can't be used. What can't be read is in `unread`.
    """
    evidence = open_evidence(directory, at)
    observation = observe_evidence(evidence, signals_file)
    risks = assess_evidence(observation, evidence, signals_file)
    situation = Situation(fleet=observation.fleet, risks=risks, policy=policy, now=observation.at)
    tiers = {node: change.now for node, change in Tiers().judge(situation).items()}
    return {
        "at": observation.at.isoformat().replace("+00:00", "Z"),
        "nodes": [_row(risk, tiers[risk.node], observation) for risk in risks],
    }


def observe_evidence(evidence: Evidence, signals_file: Path | None = None) -> Observation:
    """One look at the folder, as of its moment."""
    from agent.observe.sources import open_metrics
    from agent.settings import PrometheusSettings
    from tools.prometheus.private_server import private_prometheus
    from tools.signals import load_catalogue

    unread = list(evidence.unread)
    with ExitStack() as opened:
        metrics = None
        if evidence.metrics_file is not None:
            try:
                url = opened.enter_context(private_prometheus(evidence.metrics_file))
            except MetricsUnavailable as error:
                unread.append(UnreadSource("metrics", error))
            else:
                settings = PrometheusSettings(
                    url=url,
                    node_label=evidence.node_label,
                    scrape_interval_seconds=evidence.scrape_seconds,
                    timeout_seconds=60.0,
                )
                metrics = open_metrics(settings)
                opened.callback(metrics.close)
        observation = observe(
            evidence.nodes,
            now=evidence.at,
            metrics=metrics,
            signals=load_catalogue(signals_file) if metrics is not None else (),
            scrape_interval_seconds=evidence.scrape_seconds,
            logs=evidence.logs,
            patience_seconds=PATIENCE_SECONDS,
        )
    return replace(observation, unread=(*unread, *observation.unread))


def assess_evidence(observation: Observation, evidence: Evidence, signals_file: Path | None = None) -> list[Risk]:
    """The risk of each node. Where a folder holds no metrics at all, what was read of the logs dates the node's data."""
    from tools.signals import load_catalogue

    signals = load_catalogue(signals_file) if evidence.metrics_file is not None else ()
    risks = assess(observation, signals, observation.at)
    if evidence.metrics_file is not None or evidence.unread:
        return risks
    failed = {(one.node, one.what) for one in observation.unread}
    return [
        risk.model_copy(update={"data_age_seconds": 0.0})
        if evidence.logs.get(risk.node) and (risk.node, "hardware log") not in failed
        else risk
        for risk in risks
    ]


def _row(risk: Risk, now: NodeTier, observation: Observation) -> dict[str, Any]:
    return {
        "node": risk.node,
        "tier": now.tier.value,
        "why": now.why,
        "probability": risk.probability,
        "drivers": [driver.model_dump() for driver in risk.drivers],
        "events": [_event(event) for event in observation.events if event.node == risk.node],
        "unknown": list(risk.unknown),
        "unread": {one.what: _line(one.error) for one in observation.unread if one.node in (None, risk.node)},
    }


def _event(event: HardwareEvent) -> dict[str, Any]:
    fields = event.model_dump(mode="json")
    return {name: fields[name] for name in ("time", "kind", "severity", "part", "part_class", "asserted")}


def _line(error: LifeboatError) -> str:
    return " ".join(str(error).split())
