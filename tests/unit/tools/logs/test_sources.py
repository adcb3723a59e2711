"""Journal export, Loki, offsets that outlive a restart, and the templates of lines that no pattern names."""

from __future__ import annotations

import json
import shutil
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import HardwareLogUnavailable
from tools.logs import loki
from tools.logs.event_store import EventStore
from tools.logs.files import LogFiles
from tools.logs.journald import JournalExport, entries
from tools.logs.loki import LokiLog
from tools.logs.reader import understand
from tools.logs.templates import MOST, Templates, template_of

NOW = datetime.now(UTC).replace(microsecond=0)
SINCE = NOW - timedelta(days=3)
READ_ERROR = "sd 0:0:0:0: [sda] tag#4 Add. Sense: Unrecovered read error - auto reallocate failed"
LINK = "ixgbe 0000:18:00.0 eno1: NIC Link is Down"


def line(ago: float, message: str = READ_ERROR) -> str:
    return f"{(NOW - timedelta(seconds=ago)).isoformat()} node-a kernel: {message}\n"


# ---- journal export ----


def entry(
    ago: float, message: str = READ_ERROR, *, host: str = "node-a", binary: bool = False, tag: str = "kernel"
) -> bytes:
    stamp = int((NOW - timedelta(seconds=ago)).timestamp() * 1e6)
    head = f"__CURSOR=s={ago}\n__REALTIME_TIMESTAMP={stamp}\n_HOSTNAME={host}\nSYSLOG_IDENTIFIER={tag}\n".encode()
    body = message.encode()
    told = b"MESSAGE\n" + struct.pack("<Q", len(body)) + body + b"\n" if binary else b"MESSAGE=" + body + b"\n"
    return head + told + b"\n"


def test_an_export_becomes_events_of_its_node(tmp_path: Path) -> None:
    (tmp_path / "remote.export").write_bytes(
        entry(60) + entry(50, LINK, binary=True) + entry(40, host="node-b") + entry(30, "hello", tag="sshd")
        + entry(20, "line one\n\nMESSAGE=" + READ_ERROR, binary=True, tag="sshd")
    )  # fmt: skip
    log = JournalExport("node-a", [tmp_path])
    assert [((NOW - e.time).seconds, e.part) for e in log.events(since=SINCE)] == [(60, "sda"), (50, "eno1")]
    assert (log.counts.foreign, log.counts.unknown) == (1, 2)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_however_an_export_is_cut_its_entries_are_the_same(data: st.DataObject) -> None:
    messages = data.draw(st.lists(st.tuples(st.text(max_size=40), st.booleans()), max_size=6))
    whole = b"".join(
        entry(k, text, binary=binary or "\n" in text or "\r" in text) for k, (text, binary) in enumerate(messages)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    found = list(entries(iter(chunks), 0))
    assert [e["MESSAGE"] for e, _ in found] == [text for text, _ in messages]
    assert not found or found[-1][1] == len(whole)


def test_rubbish_in_an_export_hides_nothing_behind_it(tmp_path: Path) -> None:
    rubbish = b"\x00\xff\x13garbage\n" + b"\xff" * 64 + b"\n\n"
    (tmp_path / "remote.export").write_bytes(entry(60) + rubbish + entry(50))
    found = JournalExport("node-a", [tmp_path]).events(since=SINCE)
    assert [(NOW - e.time).seconds for e in found] == [60, 50]


def test_an_export_goes_on_after_a_restart_and_starts_over_when_it_was_truncated(tmp_path: Path) -> None:
    file, note = tmp_path / "remote.export", tmp_path / "note.json"
    file.write_bytes(entry(60) + entry(50)[:-20])
    assert len(JournalExport("node-a", [file], state_file=note).events(since=SINCE)) == 1
    file.write_bytes(entry(60) + entry(50) + entry(40))
    again = JournalExport("node-a", [file], state_file=note)
    assert len(again.events(since=SINCE)) == 3
    assert again.counts.lines == 2, "what was read before is not read again"
    file.write_bytes(entry(30))
    assert len(again.events(since=SINCE)) == 4


# ---- what outlives a restart ----

STEP = st.sampled_from(["append", "look", "restart", "rename", "copy-truncate", "crash"])


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, min_size=2, max_size=25))
def test_whatever_happens_to_a_log_no_event_is_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    home = tmp_path_factory.mktemp("logs")
    logs, note = home / "log", home / "note.json"
    logs.mkdir()
    file = logs / "kern.log"
    file.touch()
    log = LogFiles("node-a", [logs], state_file=note)
    written = rotated = 0
    for step in [*steps, "look"]:
        if step == "append":
            with file.open("a") as more:
                more.write(
                    line(80_000 - 10 * written) + line(80_000 - 10 * written, "hrtimer: interrupt took 31337 ns")
                )
            written += 1
        elif step == "look":
            found = log.events(since=SINCE)
            assert len(found) == len(set(found)) == written
        elif step == "restart":
            log = LogFiles("node-a", [logs], state_file=note)
        elif step == "crash":  # what it noted last is lost
            note.unlink(missing_ok=True)
            log = LogFiles("node-a", [logs], state_file=note)
        else:
            rotated += 1
            old = logs / f"kern.log.{rotated}"
            if step == "rename":
                file.rename(old)
                file.touch()
            else:
                shutil.copy(file, old)
                file.write_text("")


def test_events_and_offsets_outlive_a_restart_together(tmp_path: Path) -> None:
    file, note = tmp_path / "kern.log", tmp_path / "state" / "note.json"
    file.write_text(line(100))
    LogFiles("node-a", [file], state_file=note).events(since=SINCE)
    again = LogFiles("node-a", [file], state_file=note)
    assert len(again.events(since=SINCE)) == 1, "the event is remembered"
    assert again.counts.lines == 0, "its line is not read again"


@pytest.mark.parametrize("content", ["", "{", '{"version": 99}', '{"version": 1, "node": "node-a", "events": [{}]}'])
def test_a_damaged_note_is_left_aside_and_the_log_read_anew(tmp_path: Path, content: str) -> None:
    file, note = tmp_path / "kern.log", tmp_path / "note.json"
    file.write_text(line(100))
    note.write_text(content)
    assert len(LogFiles("node-a", [file], state_file=note).events(since=SINCE)) == 1


def test_a_burst_of_events_keeps_to_its_limit_and_keeps_the_gravest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.logs.event_store.MOST_EVENTS", 100)
    store = EventStore("node-a")
    grave, light = understand("kernel", READ_ERROR), understand("kernel", LINK)
    assert grave is not None
    assert light is not None
    store.add(grave.event("node-a", NOW - timedelta(hours=30)))
    for k in range(1000):
        store.add(light.event("node-a", NOW - timedelta(seconds=k)))
    kept = store.since(SINCE)
    assert len(kept) <= 110
    assert kept[0].part == "sda"
    assert store.dropped > 800


# ---- Loki ----


@contextmanager
def stub_loki(
    lines: list[tuple[float, str]], *, labels: dict[str, str] | None = None
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Answers query_range over these (seconds ago, line), as Loki does: by time, at most `limit`."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            form = dict(parse_qsl(urlsplit(self.path).query))
            asked.append({**form, "path": urlsplit(self.path).path, "tenant": self.headers.get("X-Scope-OrgID", "")})
            stamped = sorted((int((NOW.timestamp() - ago) * 1000) * 10**6, text) for ago, text in lines)
            inside = [(at, text) for at, text in stamped if int(form["start"]) <= at < int(form["end"])]
            values = [[str(at), text] for at, text in inside[: int(form["limit"])]]
            body = {
                "status": "success",
                "data": {"resultType": "streams", "result": [{"stream": labels or {}, "values": values}]},
            }
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_loki_s_lines_become_events_page_by_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loki, "PAGE", 3)
    lines = [(ago, line(ago).rstrip()) for ago in (500, 400, 300, 200, 100)] + [(50, LINK), (45, "hello"), (40, "")]
    with stub_loki(lines) as (url, asked):
        log = LokiLog(
            "node-a", url, '{host="$node"}', headers={"X-Scope-OrgID": "ops"}, state_file=tmp_path / "note.json"
        )
        found = log.events(since=SINCE)
        assert [((NOW - e.time).seconds, e.part) for e in found] == [(a, "sda") for a in (500, 400, 300, 200, 100)] + [
            (50, "eno1")
        ]
        assert asked[0]["query"] == '{host="node-a"}'
        assert {(q["path"], q["tenant"], q["direction"]) for q in asked} == {
            ("/loki/api/v1/query_range", "ops", "forward")
        }
        pages = len(asked)
        assert log.events(since=SINCE) == found
        again = LokiLog("node-a", url, '{host="$node"}', state_file=tmp_path / "note.json")
        lines.append((10, line(10).rstrip()))
        assert len(again.events(since=SINCE)) == len(found) + 1
        assert len(asked) - pages <= 6, "only the newest minute is asked for again"


def test_more_lines_at_one_moment_than_a_page_holds_do_not_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loki, "PAGE", 3)
    with stub_loki([(100.0, line(100).rstrip())] * 10 + [(50.0, LINK)]) as (url, _):
        assert len(LokiLog("node-a", url, "{}").events(since=SINCE)) == 2


def test_the_program_may_be_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    record = "Fan sensor Fan2 Lower Critical going low Asserted"
    with stub_loki([(50, record)], labels={"syslog_identifier": "ipmievd"}) as (url, _):
        (event,) = LokiLog("node-a", url, "{}").events(since=SINCE)
    assert event.part == "Fan2"


def test_a_loki_that_does_not_answer_is_named() -> None:
    with pytest.raises(HardwareLogUnavailable, match=r"Loki at http://127\.0\.0\.1:1 for node 'node-a' is unreachable"):
        LokiLog("node-a", "http://user:secret@127.0.0.1:1", "{}").events(since=SINCE)


# ---- templates ----


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("hrtimer: interrupt took 31337 ns", "hrtimer interrupt took * ns"),
        ("usb 1-1.2: new USB device number 5 using xhci_hcd", "usb * new USB device number * using xhci_hcd"),
        ("audit: type=1400 audit(1700000000.1:22): apparmor=\"DENIED\"", "audit type * audit * apparmor DENIED"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_varies_is_a_star(message: str, template: str) -> None:
    assert template_of(message) == template


def test_unknown_lines_are_counted_by_template_and_known_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "kern.log").write_text(
        "".join(line(100 - k, f"hrtimer: interrupt took {k} ns") for k in range(20))
        + line(50)
        + line(49, "a \x1b[2J b")
    )
    log = LogFiles("node-a", [tmp_path])
    log.events(since=SINCE)
    assert log.templates.top() == [("kernel hrtimer interrupt took * ns", 20), (r"kernel a \x1b * b", 1)]
    assert log.strange_lines(1) == ["kernel hrtimer interrupt took * ns"]


@given(st.lists(st.text(max_size=60), max_size=40))
def test_templates_stay_few_and_harmless(messages: list[str]) -> None:
    templates = Templates(lambda tag, message: False)
    for message in messages:
        templates.add(message)
    for template, _ in templates.top(100):
        assert template.isprintable()
        assert len(template) <= 170


def test_a_log_that_says_something_new_all_the_time_keeps_few_templates() -> None:
    templates = Templates(lambda tag, message: False)
    for k in range(2 * MOST):
        templates.add("".join(chr(97 + int(digit)) for digit in str(k)))
        templates.add("the same again")
    assert len(templates.top(10 * MOST)) <= MOST
    assert templates.top(1) == [("the same again", 2 * MOST)]
