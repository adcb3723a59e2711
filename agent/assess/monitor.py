"""Observe and assess as the settings say: opens Prometheus and the hardware logs, and keeps what one look can reuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from models.errors import Indeterminate, LifeboatError
from models.fleet import Fleet
from models.knowledge import Knowledge
from models.risk.risk import Risk
from tools.garbage import LongLived
from tools.tracing.spans import span

if TYPE_CHECKING:
    from agent.observe.observation import Observation
    from agent.settings import Settings
    from models.storage_layout import StoragePolicy
    from tools.history.store import HistoryStore
    from tools.history.summary_ring import SummaryRing
    from tools.ports.platform import Platform

STRANGE_LINES = 20
"""kinds of lines of one log"""
Look = Callable[[], tuple[Fleet, list[Risk]]]
"""Observe and assess, as `FleetMonitor.poll` does; raises SourceError when it can't."""


class FleetMonitor:
    """Looks again and again, each time remembering the last fleet, the healthy pasts and how far each log was read."""

    unusable: Mapping[str, str] = MappingProxyType({})
    """which learned forecasts the last look could not use → why"""

    def __init__(
        self,
        settings: Settings,
        nodes: Mapping[str, Platform],
        *,
        keep_ring: bool = False,
        keep_telemetry: bool = False,
        storage: StoragePolicy | None = None,
    ) -> None:
        """Connects to nothing yet. `keep_ring`: summaries, and how far each log was read, are kept under state_dir across
        restarts, by one agent alone. `keep_telemetry`: `telemetry` is of the last look, for a language model that plans. storage:
        as for `LearnedModels`.

        Raises BadInput when the settings, the signals file or the ring can't be used.
        """
        from agent.assess.learned_models import LearnedModels
        from agent.observe.signals import TelemetryCache
        from agent.observe.sources import hardware_logs, open_metrics
        from tools.clock import SystemClock
        from tools.signals import load_catalogue

        self._settings = settings
        self._nodes = nodes
        self._clock = SystemClock()
        self._long_lived = LongLived(self._clock) if keep_ring else None
        self._memory = TelemetryCache()
        self._previous: Fleet | None = None
        self.signals = load_catalogue(settings.signals_file)
        self._logs = hardware_logs(settings, state_dir=settings.state_dir if keep_ring else None)
        prometheus = settings.prometheus
        self._metrics = open_metrics(prometheus) if prometheus is not None else None
        if keep_ring and prometheus is not None:
            from tools.history.summary_ring import SummaryRing

            self._memory.ring = SummaryRing(settings.state_dir / "ring")
            self._memory.summaries, self._memory.recorded = self._metrics, prometheus.recorded
        self.learned = LearnedModels(settings, self.signals, storage)
        self._keep_telemetry = keep_telemetry
        self.telemetry = Knowledge()
        """readings and events of the likeliest nodes to fail"""
        self._history: HistoryStore | None = None
        self._history_problem = ""

    def observe(self) -> Observation:
        """One look at everything. Raises BadInput only for a broken vm label; whatever does not answer is in `unread`."""
        from agent.observe.observe import observe

        prometheus = self._settings.prometheus
        observation = observe(
            self._nodes,
            now=self._clock.now(),
            metrics=self._metrics,
            signals=self.signals,
            scrape_interval_seconds=prometheus.scrape_interval_seconds if prometheus else 15.0,
            logs=self._logs,
            previous=self._previous,
            memory=self._memory,
        )
        self._previous = observation.fleet
        if self._memory.ring is not None:
            self._keep_history(observation, self._memory.ring)
            self._memory.ring.let_go()
        return observation

    def _keep_history(self, observation: Observation, ring: SummaryRing) -> None:
        """Take complete hours into the history. A history that can't be kept is said, and costs no look."""
        from agent.observe.history import append_history
        from tools.history.store import HistoryStore

        try:
            self._history = self._history or HistoryStore(self._settings.state_dir / "history", self.signals)
            nodes = [node.name for node in observation.fleet.nodes]
            append_history(self._history, ring, self.signals, nodes, observation.events, now=observation.at)
            self._history_problem = ""
        except LifeboatError as error:
            self._history, self._history_problem = None, str(error)

    def assess(self, observation: Observation) -> list[Risk]:
        """One risk per node, as of the observation."""
        from agent.assess.assess import assess

        learned = self.learned.of(observation)
        if self._history_problem:
            learned = replace(learned, broken={**learned.broken, "history": self._history_problem})
        self.unusable = learned.broken
        return assess(observation, self.signals, observation.at, learned=learned, simulated=self._settings.simulated)

    def poll(self) -> tuple[Fleet, list[Risk]]:
        """Observe and assess; in an agent, Python's cycle collector leaves out what that made (`tools.garbage`).

        Raises MetricsUnavailable when no telemetry could be read at all, and Indeterminate when a vm is seen running on two
        nodes. A signal that is broken (two series for one node, PromQL that Prometheus refuses) is unknown in each risk.
        """
        with nullcontext() if self._long_lived is None else self._long_lived.making():
            return self._poll()

    def _poll(self) -> tuple[Fleet, list[Risk]]:
        with span("observe") as told:
            observation = self.observe()
            unread = {failed.what for failed in observation.unread}
            told.tell(nodes=len(observation.fleet.nodes), vms=len(observation.fleet.vms), unread=sorted(unread))
        if observation.duplicate_vms:
            vm, nodes = observation.duplicate_vms[0]
            raise Indeterminate(
                f"vm {vm.name!r} ({vm.uuid}) is running on {' and '.join(nodes)} at once",
                hint="its disks are in danger: stop one copy by hand; nothing was changed",
            )
        for failed in observation.unread:
            if failed.what == "metrics":
                raise failed.error
        with span("assess"):
            risks = self.assess(observation)
        if self._keep_telemetry:
            from agent.assess.telemetry import telemetry_of

            self.telemetry = telemetry_of(observation, risks)
        fleet = observation.fleet
        return (fleet if self._settings.archive_url else without_archive_store(fleet)), risks

    def strange_lines(self) -> Mapping[str, list[str]]:
        """Node → kinds of log lines that no pattern names, as far as its logs count them."""
        from tools.ports.telemetry import PuzzlingLog

        found = {
            node: [line for log in logs if isinstance(log, PuzzlingLog) for line in log.strange_lines(STRANGE_LINES)]
            for node, logs in self._logs.items()
        }
        return {node: lines for node, lines in found.items() if lines}

    def close(self) -> None:
        """Close the telemetry's connections; the nodes stay the caller's."""
        if self._metrics is not None:
            self._metrics.close()
        if self._memory.ring is not None:
            self._memory.ring.close()
        if self._long_lived is not None:
            self._long_lived.let_go()


NO_STORE = "no archive store is configured (`archive_url` in the settings)"


def without_archive_store(fleet: Fleet) -> Fleet:
    """The fleet in which no vm can be archived, and says why: there is nowhere to."""
    return fleet.model_copy(
        update={
            "vms": tuple(
                vm.model_copy(update={"archive_obstacle": vm.archive_obstacle or NO_STORE}) for vm in fleet.vms
            )
        }
    )


def poll_once(settings: Settings) -> tuple[Fleet, list[Risk]]:
    """One look, everything opened for it and closed after it. Raises as `FleetMonitor.poll` does."""
    return _poll_once(settings, keep_telemetry=False)[:2]


def poll_once_with_telemetry(settings: Settings) -> tuple[Fleet, list[Risk], Knowledge]:
    """As `poll_once`, and what the look saw of the likeliest nodes to fail."""
    return _poll_once(settings, keep_telemetry=True)


def _poll_once(settings: Settings, *, keep_telemetry: bool) -> tuple[Fleet, list[Risk], Knowledge]:
    from tools.libvirt.fleet import connect_nodes

    nodes: dict[str, Platform] = dict(connect_nodes(settings))
    monitor = FleetMonitor(settings, nodes, keep_telemetry=keep_telemetry)
    try:
        fleet, risks = monitor.poll()
        return fleet, risks, monitor.telemetry
    finally:
        monitor.close()
        for node in nodes.values():
            node.close()
