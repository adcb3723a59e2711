"""What language models may cost in a day."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.llm.record import LlmDirectory
from agent.settings import LlmSettings


def why_over_budget(llm: LlmSettings, directory: LlmDirectory | None) -> str | None:
    """Why nothing may be asked today: the day's tokens, or what they cost, are used up. None: it may, or nobody counts."""
    if directory is None:
        return None
    used = directory.tokens(datetime.now(UTC))
    if llm.tokens_per_day is not None and used.prompt + used.completion >= llm.tokens_per_day:
        spent = f"{used.prompt + used.completion} of {llm.tokens_per_day} tokens"
        return f"the day's budget for language models is used up: {spent}; it begins anew at 00:00 UTC"
    cost = (used.prompt * llm.prompt_price + used.completion * llm.completion_price) / 1e6
    if llm.spend_per_day is not None and cost >= llm.spend_per_day:
        spent = f"{cost:.2f} of {llm.spend_per_day:.2f}"
        return f"the day's budget for language models is spent: {spent}; it begins anew at 00:00 UTC"
    return None
