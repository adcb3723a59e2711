"""The endpoint that settings name: its key, its client, and what its errors mean."""

from __future__ import annotations

import re
from typing import Any, cast

import httpx2
import openai

from agent.llm.record import Recorder
from agent.settings import LlmSettings
from models.errors import BadInput, PlannerFailed
from models.text import visible, without_credentials
from tools.llm.answers import HEADERS, NotTheApi, bounded_until, require_api
from tools.llm.endpoint import Endpoint, NoInterface
from tools.secret_files import read_token


def endpoint_of(llm: LlmSettings, key: str, http_client: Any) -> Endpoint:
    """The endpoint that settings name, reached through this client."""
    client = openai.OpenAI(
        base_url=llm.base_url, api_key=key, timeout=llm.timeout_seconds, max_retries=0, http_client=http_client
    )
    return Endpoint(client=client, model=llm.model)


def api_key(llm: LlmSettings) -> str:
    """The key from its file; `none` where there is none to give. Raises PlannerFailed when it can't be read or holds none."""
    if llm.api_key_file is None:
        return "none"
    try:
        return read_token(llm.api_key_file, what="the language model's key file")
    except BadInput as error:
        raise PlannerFailed(error.message, hint=error.hint) from error


def http_client(
    deadline: float, *, timeout_seconds: float, recorder: Recorder | None = None, transport: httpx2.BaseTransport | None
) -> httpx2.Client:
    """The client that a model is asked through: it follows no redirect, and ends every answer at the deadline (monotonic
    seconds). `transport` stands in for the network."""
    hooks = recorder.hooks() if recorder else {"request": [], "response": []}
    hooks["response"] = [bounded_until(deadline), *hooks["response"], require_api]
    return openai.DefaultHttpxClient(
        follow_redirects=False, timeout=timeout_seconds, headers=HEADERS, event_hooks=hooks, transport=transport
    )


def explained(error: Exception, llm: LlmSettings) -> PlannerFailed:
    """Why there is no plan, in one line, and what to do about it as its hint. What the endpoint sent is cut short, and the
    key cut out of it: it may be anything."""
    if isinstance(error, PlannerFailed):
        return error
    where = f"the language model at {visible(without_credentials(llm.base_url), 80)}"
    not_the_api = _cause(error, NotTheApi)
    if not_the_api is not None:
        why, hint = f"{where} answers, and not as OpenAI's API does: it sent {not_the_api}", BASE_URL
    elif isinstance(error, openai.APITimeoutError):
        why = f"{where} did not answer within {llm.timeout_seconds:g} s"
        hint = "look whether the server is busy; raise llm.timeout_seconds if it is slow"
    elif isinstance(error, openai.APIConnectionError):
        why, hint = f"{where} can't be reached", "check llm.base_url, and that the server runs"
    elif isinstance(error, openai.APIStatusError):
        meaning, hint = _meaning(error, llm)
        said = visible(_without_key(_said(error), llm), 120)
        why = f"{where} answered with HTTP {error.status_code}{meaning}{f': {said}' if said else ''}"
    elif isinstance(error, NoInterface):
        why, hint = f"{where}: {visible(str(error), 160)}", SERVERS
    else:
        said = visible(_without_key(str(error), llm), 120)
        why, hint = f"{where} gave no usable answer: {type(error).__name__}: {said}", SERVERS
    failed = PlannerFailed(why, hint=hint)
    failed.__cause__ = error
    return failed


BASE_URL = "check llm.base_url: it ends where the API begins (mostly /v1)"
SERVERS = "see docs/llm.md: which settings each server needs"
_CONTEXT = re.compile(
    r"context.{0,20}(length|window|size)|(maximum|exceeds?).{0,40}context|(prompt|input) is too long|too many (input )?tokens"
    r"|max_(completion_|model_)?(tokens|len)\b.{0,40}too large|context_length_exceeded|exceed_context_size",
    re.IGNORECASE,
)
_QUOTA = re.compile(r"quota|billing|credit|balance|spend(ing)? limit", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"model.{0,120}(not found|does not exist|not exist|is not available|not a valid|unknown|not supported|no access)"
    r"|(invalid|unknown|no such|unsupported) model|model_not_found|DeploymentNotFound",
    re.IGNORECASE,
)


def _meaning(error: openai.APIStatusError, llm: LlmSettings) -> tuple[str, str]:
    """(what an HTTP error means, what to do): after how servers word it, for they share no codes."""
    said = f"{_said(error)} {error.code or ''} {error.type or ''}"
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        if llm.api_key_file is None:
            return (
                ", it asks for a key and none is configured",
                "put the key into a file and name it as llm.api_key_file",
            )
        return ", it refuses the key", "renew the key in llm.api_key_file"
    if error.status_code == 402 or (error.status_code == 429 and _QUOTA.search(said)):
        return ", the account's quota is used up", "add credit, or set llm.fallback to another model (docs/llm.md)"
    if error.status_code == 429:
        return ", it takes no more requests now", "wait, or set llm.fallback to another model (docs/llm.md)"
    if _CONTEXT.search(said):
        return (
            ", its context is too small for the facts",
            "give the server a larger context (8192 tokens or more; docs/llm.md), or take another model",
        )
    if _NO_MODEL.search(said):
        return f", it has no model {visible(llm.model, 60)!r}", "check llm.model: it is written as the server lists it"
    if error.status_code in (404, 405):
        return ", there is no API at this address", BASE_URL
    return "", SERVERS


def _said(error: openai.APIStatusError) -> str:
    """What the server says of it, without the library's own words before that."""
    body: Any = error.body
    if isinstance(body, dict):
        fields = cast("dict[str, Any]", body)
        inner = fields.get("error", fields)
        told = cast("dict[str, Any]", inner).get("message") if isinstance(inner, dict) else inner
        return str(told or fields.get("detail") or "")
    text = error.response.text.strip()
    return "" if text.startswith("<") else text[:400]


def _without_key(text: str, llm: LlmSettings) -> str:
    try:
        key = api_key(llm)
    except PlannerFailed:
        key = ""
    return without_credentials(text.replace(key, "…") if len(key) > 5 else text)


def _cause(error: BaseException | None, kind: type[NotTheApi]) -> NotTheApi | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error
