"""What a Prometheus answer has to be before anybody believes it: whole, of the right kind, and JSON."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from pydantic_core import from_json

from models.errors import BadInput, MetricsRefused, MetricsUnavailable
from models.risk.signal import Signal
from models.text import without_sent
from tools.garbage import UNCOLLECTED
from tools.http_deadline import DeadlineSession
from tools.prometheus.matrix import Matrix, split_answer

MAX_CLOCK_DIFFERENCE_SECONDS = 60.0
"""By how much Prometheus's clock may differ from this machine's: a fifth of the age policy lets data have (`data.max_age`)."""


class RefusalError(Exception):
    """Prometheus answered, but not with data."""

    def __init__(self, what: str, *, kind: str = "", status: int = 200) -> None:
        super().__init__(what)
        self.what, self.kind, self.status = what, kind, status

    def about(self, signal: Signal, query: str, url: str) -> BadInput | MetricsUnavailable:
        if self.kind == "clock":
            return MetricsUnavailable(
                f"Prometheus at {url}: {self.what}",
                hint="fix time synchronisation (chrony) on the one that is wrong; nothing is known of any node until then",
            )
        if self.kind == "bad_data" or "many-to-many" in self.what or "duplicate series" in self.what:
            return BadInput(
                f"signal {signal.name}: Prometheus refuses its query: {self.what}; query: {query}",
                hint="fix its promql",
            )
        hint = "see Prometheus's own log"
        if self.status in (401, 403):
            hint = "put the credentials into prometheus.headers"
        elif self.status == 404 or self.kind == "not-json":
            hint = "check prometheus.url: it must be the address before /api/v1"
        elif self.kind == "partial":
            hint = "the rest is unknown; fix the store that did not answer"
        return MetricsRefused(f"Prometheus at {url} gave no data for {signal.name}: {self.what}", hint=hint)


class CheckedSession(DeadlineSession):
    """Looks at each answer before the client, which drops warnings, types and messages, gets to see it."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._shown = url

    def request(self, method: str, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        if method == "POST":
            # The client puts everything into the URL, where long queries do not fit.
            kwargs["data"], kwargs["params"] = kwargs.pop("params", None), None
        began = time.time()
        response = super().request(method, url, *args, **kwargs)
        self._check_clock(response, began)
        split = split_answer(response.content)
        try:
            with UNCOLLECTED:
                body = from_json(response.content if split is None else split[0])
        except ValueError:
            kind = response.headers.get("content-type", "no content type").split(";")[0]
            what = f"HTTP {response.status_code} with {kind} instead of JSON"
            raise RefusalError(what, kind="not-json", status=response.status_code) from None
        if not isinstance(body, dict):
            raise RefusalError("JSON that is not an object", kind="not-json", status=response.status_code)
        if response.status_code != 200 or body.get("status") != "success":
            said = " ".join(str(body.get("error") or f"HTTP {response.status_code}").split())
            message = without_sent(said, response.request.headers)[:300]
            raise RefusalError(message, kind=str(body.get("errorType", "")), status=response.status_code)
        # Prometheus 2.50 to 2.5x mixes remarks on the query into the warnings; those do not make data partial.
        warnings = [str(w) for w in body.get("warnings") or () if not str(w).startswith("PromQL info")]
        if warnings:
            said = without_sent(" ".join(warnings[0].split()), response.request.headers)
            raise RefusalError(f"it answered only in part ({said[:300]})", kind="partial")
        if body.get("isPartial"):  # VictoriaMetrics: a storage node did not answer
            raise RefusalError("it answered only in part (isPartial)", kind="partial")
        data = body.get("data")
        if not isinstance(data, dict) or data.get("resultType") != "matrix" or not isinstance(data.get("result"), list):
            raise RefusalError("no matrix in its answer", kind="not-json")
        data["result"] = Matrix(b"", data["result"]) if split is None else split[1]
        response.json = _always(body)  # decoding takes longer than everything else: once is enough
        return response

    def _check_clock(self, response: requests.Response, began: float) -> None:
        """What was asked for was asked by this machine's clock: where Prometheus's tells another time, old data would pass for
        new. RFC 9110 has every server with a clock date its answers, to the second."""
        try:
            dated = parsedate_to_datetime(response.headers["date"]).timestamp()
        except (KeyError, ValueError):
            return  # no date: a clock that is ahead of theirs finds no data, one that is behind is not found out here
        ahead = dated - time.time() if dated > began else min(dated + 1 - began, 0.0)
        if abs(ahead) > MAX_CLOCK_DIFFERENCE_SECONDS:
            side = "ahead of" if ahead > 0 else "behind"
            raise RefusalError(f"its clock is {abs(ahead):.0f} s {side} this machine's", kind="clock")


def _always(body: object) -> Callable[..., object]:
    def decoded(**_: object) -> object:
        return body

    return decoded
