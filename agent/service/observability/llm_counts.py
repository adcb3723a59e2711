"""Counts what language models use while this process runs, whichever process asked them."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry, Counter

from agent.llm.record import LlmDirectory
from agent.service.observability import catalogue
from agent.service.observability.families import counter
from tools.ports.clock import Clock


class LlmCounts:
    """Reads on each time it is asked to: the day's figures fall back at midnight, and `rate()` needs some that do not. Safe for
    several threads."""

    def __init__(
        self, registry: CollectorRegistry, directory: LlmDirectory, clock: Clock, *, prices: tuple[float, float]
    ) -> None:
        """`prices`: of a million tokens sent, and written. What was used until now is the past."""
        self._directory, self._clock, self._prices = directory, clock, prices
        self._tokens: Counter = counter(catalogue.TOKENS_USED, registry)
        self._cost: Counter = counter(catalogue.COST_INCURRED, registry)
        self._lock = threading.Lock()
        self._counted = self._ever()

    def read_on(self) -> None:
        """Count what is new."""
        with self._lock:
            ever = self._ever()
            for direction, now, before, price in zip(
                ("prompt", "completion"), ever, self._counted, self._prices, strict=True
            ):
                new = max(0, now - before)  # less: somebody removed the file
                self._tokens.labels(direction).inc(new)
                self._cost.inc(new * price / 1e6)
            self._counted = ever

    def _ever(self) -> tuple[int, int]:
        tokens = self._directory.tokens(self._clock.now())
        return tokens.prompt_ever, tokens.completion_ever
