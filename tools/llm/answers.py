"""What comes back over HTTP, held to what it should be: an end, a size, and the form of OpenAI's API.

Every client that asks a language model has these hooks. What they raise comes out as openai's APITimeoutError, or as its
APIConnectionError with the reason as its cause.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import httpx2

MAX_BYTES = 4 << 20
"""of one answer; a plan for 80 vms takes some 20 KB"""
HEADERS = {"Accept-Encoding": "identity"}
"""to send along: what is packed small can unpack to anything"""


class NotTheApi(Exception):
    """It answers, and not as OpenAI's API does. The message is what came instead: `a web page`."""


def bounded_until(deadline: float) -> Callable[[httpx2.Response], None]:
    """A hook: an answer is read until the deadline (monotonic seconds) and MAX_BYTES, however slowly or long it is sent."""

    def bound(response: httpx2.Response) -> None:
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _BoundedStream(response.stream, deadline)

    return bound


class _BoundedStream(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._inner:
            size += len(chunk)
            if size > MAX_BYTES:
                raise NotTheApi(f"an answer of more than {MAX_BYTES >> 20} MiB")
            if time.monotonic() > self._deadline:
                raise httpx2.ReadTimeout("the answer did not end")
            yield chunk

    def close(self) -> None:
        self._inner.close()


def require_api(response: httpx2.Response) -> None:
    """A hook: raises NotTheApi for a success that is no answer of the API. Errors of HTTP are openai's to tell."""
    if response.status_code != 200:
        return
    if response.headers.get("content-encoding", "identity") != "identity":
        raise NotTheApi("a packed answer, which was not asked for")
    body = response.read()
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        start = body[:200].lstrip().lower()
        if not start:
            raise NotTheApi("an empty answer") from None
        raise NotTheApi("a web page" if start.startswith(b"<") else "something that is no JSON") from None
    if not isinstance(found, dict) or not ({"choices", "error"} & cast("dict[str, Any]", found).keys()):
        raise NotTheApi("JSON of another kind, without `choices`")
