"""What a plan on the command line may wait for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.situation import Situation


def with_better_times(
    situation: Situation, nodes: Collection[str], config: Path | None, *, at_once: bool, live: bool
) -> Situation:
    """The situation in which nothing waits (`at_once`), or of a `live` fleet with the hours at which guests of the nodes that a
    person named are at work."""
    policy = situation.policy
    if at_once:
        wait = policy.wait.model_copy(update={"price": 0.0, "stop_price": 0.0})
        return replace(situation, policy=policy.model_copy(update={"wait": wait}))
    if not live or not nodes or not policy.wait.quiet_hours:
        return situation
    from agent.observe.quiet_hours import loads_from
    from agent.settings import load_settings

    tell = loads_from(load_settings(config).prometheus, lambda: situation.now)
    return replace(situation, fleet=tell(situation.fleet, nodes))
