"""The doctor's checks of what Prometheus knows: targets, signals and clocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby

from agent.doctor.examine import CheckContext, Finding, Health, finding
from agent.doctor.signals import Presence, SignalRow
from agent.doctor.signals import check_signals as read_signals
from models.errors import MetricsUnavailable
from models.text import visible, without_credentials
from tools.tracing.collector import traces_url, why_no_spans

_NAMED = 5
_COLLECTOR_SECONDS = 5.0


def check_telemetry(context: CheckContext) -> Iterator[Finding]:
    """Prometheus answers, and scrapes something of every node."""
    if context.prometheus is None:
        what = "not configured: every node's risk is unknown"
        yield finding("telemetry", "prometheus", Health.WARN, what, "set prometheus.url in the settings")
        return
    up, label = context.prometheus_health.up, context.prometheus.node_label
    for node in context.settings.nodes:
        answering, total = up.get(node.name, (0, 0))
        if not total:
            known = ", ".join(visible(name, 40) for name in sorted(up)[:_NAMED] if name) or "nothing"
            what = f"no target has {label}={node.name!r}; Prometheus knows {known}"
            fix = "scrape it, or set prometheus.node_label to the label that names nodes"
            yield finding("telemetry", node.name, Health.FAIL, what, fix)
        elif answering < total:
            health = Health.WARN if answering else Health.FAIL
            silent = ", ".join(visible(job, 40) for job in context.prometheus_health.down[node.name][:_NAMED])
            what = f"{answering} of its {total} targets answer Prometheus, not {silent}"
            yield finding("telemetry", node.name, health, what, "see Prometheus's page of targets; then the node")
        else:
            yield finding("telemetry", node.name, Health.OK, f"{total} target{'s' if total > 1 else ''}, all answer")


def check_collector(context: CheckContext) -> Iterator[Finding]:
    """The OpenTelemetry collector takes spans, where one is named. No evacuation needs it."""
    otel = context.settings.otel
    url = traces_url(otel.endpoint if otel is not None else None)
    if url is None:
        return
    why = why_no_spans(url, otel.headers if otel is not None else {}, seconds=_COLLECTOR_SECONDS)
    shown = visible(without_credentials(url), 200)
    if why is None:
        yield finding("telemetry", "OpenTelemetry", Health.OK, f"{shown} takes spans")
    else:
        what = f"{shown} takes no spans: {why}; lifeboat goes on without"
        yield finding(
            "telemetry", "OpenTelemetry", Health.WARN, what, "start the collector, or mend otel in the settings"
        )


def check_clock(context: CheckContext) -> Iterator[Finding]:
    """Each node's clock against this machine's, as Prometheus sees it."""
    try:
        offsets = context.prometheus_health.clock_offsets if context.prometheus is not None else {}
    except MetricsUnavailable:
        yield finding("clock", "all nodes", Health.UNKNOWN, "Prometheus does not tell", "see the line on telemetry")
        return
    most = context.policy.migration.max_clock_difference.total_seconds()
    for node in context.settings.nodes:
        offset = offsets.get(node.name)
        if offset is None:
            what = "nothing tells its time: libvirt can't, and Prometheus has no node_time_seconds of it"
            yield finding(
                "clock",
                node.name,
                Health.UNKNOWN,
                what,
                "run node_exporter with its time collector there, scraped",
            )
            continue
        wrong = abs(offset) > most
        side = f"{abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} this machine's"
        yield finding(
            "clock",
            node.name,
            Health.FAIL if wrong else Health.OK,
            f"{side}; policy allows {most:g} s, no vm moves there" if wrong else f"within {most:g} s of this machine's",
            "fix time synchronisation (chrony) there, or here if all nodes differ alike" if wrong else "",
        )


def check_signals(context: CheckContext) -> Iterator[Finding]:
    """Which signals of the catalogue Prometheus has, and on which nodes."""
    prometheus = context.prometheus
    if prometheus is None:
        return
    from agent.observe.sources import open_metrics
    from tools.signals import load_catalogue

    signals = load_catalogue(context.settings.signals_file)
    nodes = [node.name for node in context.settings.nodes]
    with closing(open_metrics(prometheus)) as metrics:
        rows = read_signals(metrics, signals, nodes, now=context.clock.now())
    yield from signal_findings(rows)


def signal_findings(rows: Sequence[SignalRow]) -> Iterator[Finding]:
    """Broken ones a line each, whether they count or not: the catalogue is wrong. Of those that count, a line a component,
    and one for each set of nodes that lacks the same.

    What no node reports though its exporter answers, the hardware seems not to have: named, and no fault. Where that is all
    of a component, lifeboat sees nothing there.
    """
    if rows and all(row.presence is Presence.UNREAD for row in rows):
        yield finding("signals", "all", Health.UNKNOWN, "Prometheus does not tell", "see the line on telemetry")
        return
    answering = {row.exporter for row in rows if row.nodes}
    for component, group in groupby(sorted(rows, key=_component), key=_component):
        those = list(group)
        for row in those:
            if row.presence is Presence.BROKEN:
                yield finding("signals", row.signal, Health.FAIL, row.why, "fix it in the signals file")
            elif row.presence is Presence.UNREAD:
                yield finding("signals", row.signal, Health.UNKNOWN, row.why, "ask again")
        counting = [row for row in those if row.counts]
        missing = [row for row in counting if row.presence is Presence.MISSING]
        absent = [row for row in missing if row.exporter in answering and not row.unmatched_nodes]
        unseen = [row for row in missing if row not in absent]
        partial = sorted((row for row in counting if row.presence is Presence.PARTIAL), key=_without)
        present = sum(row.presence is Presence.PRESENT for row in counting)
        if present or (absent and partial):
            what = f"{present} of {len(counting)} on every node"
            if absent:
                what += f"; no such part, or its collector is off: {_names(absent)}"
            yield finding("signals", component, Health.OK, what)
        elif absent:
            what = f"nothing is known of it: no node has {_names(absent)}, though {_exporters(absent)} answers"
            yield finding("signals", component, Health.WARN, what, "switch the exporter's collectors on")
        for without, some in groupby(partial, key=_without):
            lacking = list(some)
            what = f"{_listed(without)} without {_names(lacking)}"
            fix = f"see {_exporters(lacking)} there; fine where the hardware has no such part"
            yield finding("signals", component, Health.WARN, what, fix)
        if unseen:
            unmatched = sorted({visible(name, 40) for row in unseen for name in row.unmatched_nodes})
            what = f"no node reports {_names(unseen)}"
            what += f"; reported for {_listed(unmatched)}" if unmatched else ""
            fix = "check prometheus.node_label" if unmatched else f"scrape {_exporters(unseen)} on every node"
            yield finding("signals", component, Health.WARN, what, fix)


def _component(row: SignalRow) -> str:
    return row.component


def _without(row: SignalRow) -> tuple[str, ...]:
    return row.without


def _names(rows: Sequence[SignalRow]) -> str:
    return _listed([row.signal for row in rows])


def _exporters(rows: Sequence[SignalRow]) -> str:
    any_of = {exporter for row in rows if row.exporter for exporter in row.exporter.split(" or ")}
    return " or ".join(sorted(any_of)) or "its exporter"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
