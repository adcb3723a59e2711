"""What Prometheus tells of its targets and of the nodes' clocks, and what it is when it tells nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest
from scenes.stub_prometheus import Answer, Reply, as_json, stub_prometheus, vector

from models.errors import MetricsUnavailable
from tools.prometheus.health import NodeClocks, PrometheusHealth, read_health

A, B = {"instance": "node-a:9100", "job": "node"}, {"instance": "node-b:9100", "job": "node"}
IPMI = {"instance": "node-b:9290", "job": "ipmi"}


def seen(answer: Answer) -> PrometheusHealth:
    with stub_prometheus(answer) as stub:
        return read_health(stub.url, node_label="instance", timeout_seconds=5.0, headers={"X-Scope-OrgID": "lab"})


def telling(offsets: Mapping[str, str], *, prometheus_ahead: float = 0.0) -> Answer:
    """Two nodes, one with a dead exporter; each clock as far from Prometheus's as said."""

    def answer(parameters: Mapping[str, str]) -> Reply:
        now = time.time() + prometheus_ahead
        if parameters["query"] == "up":
            return vector((A, now, "1"), (B, now, "1"), (IPMI, now, "0"))
        return vector(*(({"instance": node}, now, value) for node, value in offsets.items()))

    return answer


def test_targets_are_counted_by_node():
    sight = seen(telling({}))
    assert sight.up == {"node-a": (1, 1), "node-b": (1, 2)}
    assert sight.down == {"node-b": ("ipmi",)}


def test_a_clock_is_told_against_this_machine_not_against_prometheus():
    sight = seen(telling({"node-a:9100": "0.02", "node-b:9100": "-90", "node-c:9100": "NaN"}, prometheus_ahead=60.0))
    assert sight.clock_offsets == {"node-a": pytest.approx(60, abs=1), "node-b": pytest.approx(-30, abs=1)}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((401, "text/plain", b"who are you"), "refuses a query: HTTP 401"),
        ((200, "text/html", b"<html>"), "not Prometheus"),
        (as_json({"data": {"result": [{"metric": {}, "value": [0]}]}}), "not Prometheus"),
        (as_json([]), "not Prometheus"),
    ],
)
def test_what_is_no_answer_is_said(reply: Reply, said: str):
    with pytest.raises(MetricsUnavailable, match=said):
        seen(lambda _: reply)


def test_nobody_there():
    with stub_prometheus(telling({})) as stub:
        pass
    with pytest.raises(MetricsUnavailable, match="does not answer"):
        read_health(stub.url, node_label="instance", timeout_seconds=5.0, headers={})
    clocks = NodeClocks(stub.url, node_label="instance", timeout_seconds=5.0, headers={})
    assert clocks.offset("node-a") is None


def test_the_clocks_of_a_whole_evacuation_cost_one_question():
    with stub_prometheus(telling({"node-a:9100": "3"})) as stub:
        clocks = NodeClocks(stub.url, node_label="instance", timeout_seconds=5.0, headers={})
        assert clocks.offset("node-a") == pytest.approx(3, abs=1)
        asked = len(stub.asked)
        assert clocks.offset("node-b") is None
        assert clocks.offset("node-a") == pytest.approx(3, abs=1)
        assert len(stub.asked) == asked
