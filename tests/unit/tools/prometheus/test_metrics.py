"""What comes of answers that are late, partial, refused, malformed or ambiguous: a named error, never a healthy series."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from scenes.stub_prometheus import Answer, Reply, Stub, as_json, constant, grid, matrix, series, stub_prometheus

from models.errors import BadInput, MetricsRefused, MetricsUnavailable
from models.risk.signal import Component, Limits, Signal, SignalHistory
from tools.prometheus.metrics import MAX_POINTS, PrometheusMetrics, node_name

END = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
VOLTS = Signal(
    name="psu_12v_volts", component=Component.POWER, unit="V", part_label="name", limits=Limits(low=11.4),
    promql="min by ($node_label, name) (ipmi_voltage_volts)", meaning="the 12 V rail",
)  # fmt: skip
PSU1 = {"node": "node-a", "name": "PSU1"}


@contextmanager
def asking(answer: Answer, **settings: Any) -> Iterator[tuple[PrometheusMetrics, Stub]]:
    with stub_prometheus(answer) as stub:
        metrics = PrometheusMetrics(stub.url, node_label="node", **settings)
        try:
            yield metrics, stub
        finally:
            metrics.close()


def read(
    answer: Answer, *, seconds: float = 60, step: float = 5, signal: Signal = VOLTS, **settings: Any
) -> list[SignalHistory]:
    with asking(answer, **settings) as (metrics, _):
        return metrics.histories(signal, start=END - timedelta(seconds=seconds), end=END, step_seconds=step)


def test_a_series_becomes_a_history_on_the_grid_asked_for() -> None:
    (history,) = read(constant((PSU1, "12.06")))
    assert (history.node, history.part) == ("node-a", "PSU1")
    assert history.times[0] == END.timestamp() - 60
    assert history.times[-1] == END.timestamp()
    assert np.all(history.values == 12.06)
    assert history.times.size == 13


def test_an_answer_laid_out_by_a_proxy_is_read_as_well() -> None:
    def with_blanks(parameters: Mapping[str, str]) -> Reply:
        status, kind, body = constant((PSU1, "12.06"))(parameters)
        return status, kind, json.dumps(json.loads(body), indent=1).encode()

    (one,), (other,) = read(with_blanks), read(constant((PSU1, "12.06")))
    assert one.times.tolist() == other.times.tolist()
    assert one.values.tolist() == other.values.tolist()


def test_the_query_names_the_configured_label_and_carries_the_headers() -> None:
    with asking(constant((PSU1, "12")), headers={"X-Scope-OrgID": "team-7"}) as (metrics, stub):
        metrics.histories(VOLTS, start=END - timedelta(seconds=60), end=END, step_seconds=5)
    assert stub.asked[0]["query"] == "min by (node, name) (ipmi_voltage_volts)"
    assert stub.asked[0]["tenant"] == "team-7"
    assert stub.asked[0]["path"] == "/api/v1/query_range"


def test_nothing_reported_is_no_history_rather_than_an_error() -> None:
    assert read(lambda _: matrix()) == []


def test_gaps_nan_and_infinities_are_unknown() -> None:
    def answer(parameters: Mapping[str, str]) -> Reply:
        times = grid(parameters)
        return matrix(series(PSU1, [(times[0], "12.1"), (times[2], "NaN"), (times[3], "+Inf"), (times[4], "-Inf")]))

    (history,) = read(answer)
    assert history.values[0] == 12.1
    assert np.all(np.isnan(history.values[1:]))
    assert history.newest == history.times[0]


def test_two_series_for_one_part_name_the_labels_and_how_to_mend_it() -> None:
    with pytest.raises(BadInput) as error:
        read(constant((PSU1 | {"job": "ipmi"}, "12.1"), (PSU1 | {"job": "ipmi-old"}, "11.2")))
    said = str(error.value)
    for needed in ("psu_12v_volts", "node-a", "PSU1", "job='ipmi' and 'ipmi-old'", "max by ($node_label, name)"):
        assert needed in said
    assert error.value.exit_code == 2


def test_ports_make_no_two_nodes_of_one() -> None:
    """Two exporters of one machine: the query says which of the two counts, here the lower (`min by`)."""
    (history,) = read(
        constant(({"node": "node-a:9100", "name": ""}, "12.1"), ({"node": "node-a:9177", "name": ""}, "11"))
    )
    assert history.node == "node-a"
    assert set(history.values) == {11.0}


def test_one_series_after_the_other_is_one_history() -> None:
    """A replaced part comes with another label: its predecessor had ended."""

    def answer(parameters: Mapping[str, str]) -> Reply:
        times = grid(parameters)
        first, second = times[:6], times[6:]
        return matrix(
            series(PSU1 | {"serial": "a"}, [(t, "11.9") for t in first]),
            series(PSU1 | {"serial": "b"}, [(t, "12.1") for t in second]),
        )

    (history,) = read(answer)
    assert list(history.values) == [11.9] * 6 + [12.1] * 7


def test_a_series_without_the_node_label_is_named() -> None:
    with pytest.raises(BadInput, match=r"without the label 'node'.*\$node_label"):
        read(constant(({"instance": "node-a:9290", "name": "PSU1"}, "12")))


def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        metrics = PrometheusMetrics(f"http://127.0.0.1:{taken.getsockname()[1]}", node_label="node")
        with pytest.raises(MetricsUnavailable, match=r"127\.0\.0\.1.*unreachable \(connection refused\)"):
            metrics.histories(VOLTS, start=END - timedelta(seconds=60), end=END, step_seconds=5)
        metrics.close()


def test_silence_ends_at_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        metrics = PrometheusMetrics(
            f"http://127.0.0.1:{silent.getsockname()[1]}", node_label="node", timeout_seconds=0.2
        )
        with pytest.raises(MetricsUnavailable, match=r"did not answer psu_12v_volts within 0\.2 s"):
            metrics.histories(VOLTS, start=END - timedelta(seconds=60), end=END, step_seconds=5)
        metrics.close()


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (as_json({"status": "error", "errorType": "bad_data", "error": "parse error: unexpected ')'"}, 400), BadInput,
         "parse error: unexpected '\\)'.*fix its promql"),
        (as_json({"status": "error", "errorType": "execution", "error": "found duplicate series for the match group"}, 422),
         BadInput, "duplicate series"),
        (as_json({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503), MetricsUnavailable,
         "query timed out"),
        (as_json({"status": "error", "error": "no tenant"}, 401), MetricsUnavailable, "no tenant.*prometheus.headers"),
        ((404, "text/html", b"<html>not here</html>"), MetricsUnavailable, "HTTP 404 with text/html.*prometheus.url"),
        ((200, "text/html", b"<html>log in</html>"), MetricsUnavailable, "text/html instead of JSON"),
        (as_json([]), MetricsUnavailable, "not an object"),
        (as_json({"status": "success", "data": {"resultType": "vector", "result": []}}), MetricsUnavailable, "no matrix"),
        (matrix({"metric": {}, "values": [[1]]}), MetricsUnavailable, "can't be read"),
        (matrix(series(PSU1, [(1.0, "12")])), MetricsUnavailable, "times it was not asked for"),
        (matrix(isPartial=True), MetricsUnavailable, "only in part.*isPartial"),
        (matrix(warnings=["store 10.0.0.7 did not respond"]), MetricsUnavailable, "only in part.*10.0.0.7"),
    ],
)  # fmt: skip
def test_answers_that_are_no_data(reply: Reply, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        read(lambda _: reply)


def test_remarks_on_the_query_do_not_make_an_answer_partial() -> None:
    assert read(lambda _: matrix(warnings=["PromQL info: metric might not be a counter"])) == []


def test_long_ranges_are_asked_in_pieces_that_fit_together() -> None:
    def answer(parameters: Mapping[str, str]) -> Reply:
        times = grid(parameters)
        if len(times) > 11_000:
            return as_json({"status": "error", "errorType": "bad_data", "error": "exceeded maximum resolution"}, 400)
        return matrix(series(PSU1, [(t, str(t)) for t in times]))

    (history,) = read(answer, seconds=2.5 * MAX_POINTS, step=1)
    assert history.times.size == 2.5 * MAX_POINTS + 1
    assert np.array_equal(history.times, history.values)


@pytest.mark.parametrize("step", [0.5, 1, 5, 7, 15, 60])
def test_any_step_ends_at_or_before_the_end(step: float) -> None:
    (history,) = read(constant((PSU1, "1")), seconds=100, step=step)
    assert not np.any(np.isnan(history.values))
    assert END.timestamp() - step < history.times[-1] <= END.timestamp()


@pytest.mark.parametrize("url", ["", "prometheus:9090", "ftp://x/", "http://"])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadInput, match=r"prometheus\.url"):
        PrometheusMetrics(url)


def test_a_password_in_the_url_is_not_shown() -> None:
    metrics = PrometheusMetrics("http://reader:hunter2@127.0.0.1:1/", timeout_seconds=0.5)
    with pytest.raises(MetricsUnavailable) as error:
        metrics.histories(VOLTS, start=END - timedelta(seconds=60), end=END, step_seconds=5)
    assert "hunter2" not in str(error.value)
    metrics.close()


@pytest.mark.parametrize(
    ("label", "node"),
    [("node-a:9100", "node-a"), ("node-a", "node-a"), ("10.0.0.5:9100", "10.0.0.5"), ("[2001:db8::1]:9100", "2001:db8::1"),
     ("2001:db8::1", "2001:db8::1"), ("rack:node", "rack:node")],
)  # fmt: skip
def test_node_names(label: str, node: str) -> None:
    assert node_name(label) == node


@pytest.mark.parametrize(("off", "side"), [(timedelta(hours=1), "ahead of"), (timedelta(hours=-1), "behind")])
def test_a_clock_that_is_off_by_an_hour_leaves_everything_unknown(off: timedelta, side: str) -> None:
    """By a clock that is behind, data of an hour ago would pass for new."""
    with stub_prometheus(constant((PSU1, "12")), clock=lambda: datetime.now(UTC) + off) as stub:
        metrics = PrometheusMetrics(stub.url, node_label="node")
        with pytest.raises(MetricsUnavailable, match=rf"its clock is 3[56]\d\d s {side} this machine's") as caught:
            metrics.histories(VOLTS, start=END - timedelta(seconds=60), end=END, step_seconds=5)
        metrics.close()
    assert not isinstance(caught.value, MetricsRefused), "no other signal is worth asking for"
