"""What of the learned forecasts can't be used: said once, counted in `/metrics`, and never the end of a look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from agent.assess.monitor import Look
from models.fleet import Fleet
from models.risk.risk import Risk

log = structlog.get_logger("lifeboat")


@dataclass(kw_only=True)
class ForecastTrouble:
    """Looks for somebody, and tells what changed."""

    look_now: Look
    unusable: Callable[[], Mapping[str, str]]
    """which forecasts the last look could not use → why"""
    told: Mapping[str, str] = field(default_factory=dict[str, str])

    def look(self) -> tuple[Fleet, list[Risk]]:
        """Raises as the look itself."""
        fleet, risks = self.look_now()
        now = dict(self.unusable())
        for what, why in now.items():
            if self.told.get(what) != why:
                log.error("forecast-not-used", what=what, why=why, instead="documented limits and the fleet's own past")
        for what in self.told.keys() - now.keys():
            log.info("forecast-used-again", what=what)
        self.told = now
        return fleet, risks
