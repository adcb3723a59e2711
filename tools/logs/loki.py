"""Hardware events out of Grafana Loki, over its HTTP API (`/loki/api/v1/query_range`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit

import requests

from models.errors import BadInput, HardwareLogUnavailable
from models.risk.signal import HardwareEvent
from models.text import without_sent
from tools.http_deadline import DeadlineSession
from tools.logs.doubts import Counts, LineSpan, log_doubts
from tools.logs.event_store import EventStore
from tools.logs.files import split_line
from tools.logs.patterns import Match
from tools.logs.reader import TAGS, LineReader

PAGE = 1000
"""Lines in one answer; Loki itself refuses more than 5,000."""
MOST_PAGES = 50
"""In one look; what is left is read in the next ones, so that a burst holds no look up."""
OVERLAP = timedelta(seconds=60)
"""Read again each time: lines arrive late. Events are known by what they say and when, so none counts twice."""
_KEPT = timedelta(days=7)


class LokiLog:
    """A `HardwareLog` over one node's lines in Loki. Safe to use from several threads."""

    title: ClassVar[str] = "Loki"

    def __init__(
        self, node: str, url: str, query: str, *, headers: Mapping[str, str] | None = None, timeout_seconds: float = 10.0,
        state_file: Path | None = None,
    ) -> None:  # fmt: skip
        """`query` is LogQL that selects the node's kernel and BMC lines, such as `{host="$node", job="syslog"}`; `$node` stands
        for the node's name. Raises BadInput when the url is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"loki.url {url!r} is not an http or https URL", hint="give it as http://HOST:3100")
        self._node = node
        self._url = f"{url.rstrip('/')}/loki/api/v1/query_range"
        self._shown = f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        self._query = query.replace("$node", node.replace("\\", "\\\\").replace('"', '\\"'))
        self._headers = dict(headers or {})
        self._timeout = timeout_seconds
        self._store = EventStore(node, state_file)
        self._lock = threading.Lock()
        self._reader = LineReader()
        self._span = LineSpan()
        self.counts = Counts()

    def events(self, *, since: datetime) -> list[HardwareEvent]:
        """Events at or after `since`, oldest first. Raises HardwareLogUnavailable when Loki does not answer usefully."""
        with self._lock:
            now = datetime.now(UTC)
            begin = max(_nanoseconds(since), int(self._store.cursor or 0) - _nanoseconds(OVERLAP))
            for _ in range(MOST_PAGES):
                lines = self._page(begin, _nanoseconds(now) + _nanoseconds(OVERLAP))
                for at, labels, line in lines:
                    self._take(at, labels, line)
                if len(lines) < PAGE:
                    begin = max([begin, *(at for at, _, _ in lines)])
                    break
                newest = max(at for at, _, _ in lines)
                # A page full of one and the same nanosecond can't be paged through; what it says is one event anyway.
                begin = newest if newest > begin else newest + 1
            self._add(self._reader.flush())
            self._store.cursor = str(begin)
            self._store.forget(min(since, now - _KEPT))
            self._store.save()
            return list(dict.fromkeys(self._reader.named(event) for event in self._store.since(since)))

    def listen(self, heard: Callable[[str, str, datetime], None]) -> None:
        """Have `heard` told of every message (program, text, time) of hardware's programs that is read from now on."""
        self._reader.heard = heard

    def doubts(self) -> list[str]:
        """What could not be made sense of so far, one line each."""
        with self._lock:
            doubts = log_doubts(self.counts, self._reader, self._span, datetime.now(UTC))
            return [*doubts, *filter(None, [self._store.not_noted])]

    def _page(self, begin: int, end: int) -> list[tuple[int, Mapping[str, str], str]]:
        form = {"query": self._query, "start": str(begin), "end": str(end), "limit": str(PAGE), "direction": "forward"}
        try:
            with DeadlineSession() as session:
                answer = session.get(self._url, params=form, headers=self._headers, timeout=self._timeout)
            body: Any = answer.json() if answer.status_code == 200 else None
        except (requests.RequestException, ValueError) as error:
            raise self._silent(f"is unreachable or answers no JSON ({type(error).__name__})") from error
        if body is None:
            said = without_sent(" ".join(answer.text.split()), answer.request.headers)
            raise self._silent(f"answered HTTP {answer.status_code}: {said[:200]}")
        try:
            if body["status"] != "success" or body["data"]["resultType"] != "streams":
                raise self._silent("gave no log lines: is the query a log query?")
            found = [
                (int(at), cast("Mapping[str, str]", stream["stream"]), str(line))
                for stream in body["data"]["result"]
                for at, line, *_ in stream["values"]
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._silent(f"answered with lines that can't be read ({error})") from error
        return sorted(found, key=lambda line: line[0])

    def _silent(self, what: str) -> HardwareLogUnavailable:
        return HardwareLogUnavailable(
            f"Loki at {self._shown} for node {self._node!r} {what}", hint="check loki.url, loki.query and loki.headers"
        )

    def _take(self, at: int, labels: Mapping[str, str], line: str) -> None:
        """A line as syslog writes it, or a message alone, of the program that a label names."""
        self.counts.lines += 1
        whole = split_line(line)
        if whole is not None:
            tag, message = whole
        else:
            names = ("syslog_identifier", "identifier", "ident", "app", "program", "tag")
            tag, message = next((labels[name] for name in names if name in labels), "kernel"), line
        moment = datetime.fromtimestamp(at / 1e9, UTC)
        self._span.add(moment)
        said = self._reader.read(tag, message[:8192], moment) if tag in TAGS else []
        if not said:
            self.counts.unknown += 1
        self._add(said)

    def _add(self, said: Iterable[tuple[datetime, Match]]) -> None:
        for moment, match in said:
            self.counts.events += 1
            self._store.add(match.event(self._node, moment))


def _nanoseconds(moment: datetime | timedelta) -> int:
    if isinstance(moment, timedelta):
        return int(moment.total_seconds() * 1e9)
    return int(moment.timestamp() * 1e6) * 1000
