"""The endpoint that settings name: its key, its client, and what its errors mean."""

from __future__ import annotations

from typing import Any

import openai

from agent.settings import LlmSettings
from models.errors import PlannerFailed
from models.text import visible
from tools.llm.endpoint import Endpoint, NoInterface


def endpoint_of(llm: LlmSettings, key: str, http_client: Any) -> Endpoint:
    """The endpoint that settings name, reached through this client."""
    client = openai.OpenAI(
        base_url=llm.base_url, api_key=key, timeout=llm.timeout_seconds, max_retries=0, http_client=http_client
    )
    return Endpoint(client=client, model=llm.model)


def api_key(llm: LlmSettings) -> str:
    """The key from its file; `none` where there is none to give. Raises PlannerFailed when it can't be read."""
    if llm.api_key_file is None:
        return "none"
    try:
        return llm.api_key_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PlannerFailed(f"the language model's key file {llm.api_key_file} can't be read: {error}") from error


def explained(error: Exception, llm: LlmSettings) -> PlannerFailed:
    """Why there is no plan, in one line. What the endpoint sent is cut short: it may be anything."""
    if isinstance(error, PlannerFailed):
        return error
    where = f"the language model at {visible(llm.base_url, 80)}"
    if isinstance(error, openai.APITimeoutError):
        why = f"{where} did not answer within {llm.timeout_seconds:g} s"
    elif isinstance(error, openai.APIConnectionError):
        why = f"{where} can't be reached"
    elif isinstance(error, openai.APIStatusError):
        why = f"{where} answered with HTTP {error.status_code}: {visible(str(error.message), 120)}"
    elif isinstance(error, NoInterface):
        why = f"{where}: {visible(str(error), 160)}"
    else:
        why = f"{where} gave no usable answer: {type(error).__name__}: {visible(str(error), 120)}"
    failed = PlannerFailed(why)
    failed.__cause__ = error
    return failed
