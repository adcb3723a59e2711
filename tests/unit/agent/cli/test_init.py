"""`lifeboat init` against something that answers as Prometheus does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from scenes.command_line import lifeboat
from scenes.stub_prometheus import Reply, as_json, stub_prometheus, vector

from agent.settings import Settings
from models.errors import BadInput
from tools.prometheus.discovery import join_label

Labels = Mapping[str, str]

# kube-prometheus: targets are pods, `node` is a relabelled name. ipmi_exporter speaks of BMCs, renamed to their hosts.
NODES = (
    {"__name__": "node_uname_info", "job": "node", "instance": "10.0.0.1:9100", "node": "hv1", "cluster": "c"},
    {"__name__": "node_uname_info", "job": "node", "instance": "10.0.0.2:9100", "node": "hv2", "cluster": "c"},
    {"__name__": "node_uname_info", "job": "node", "instance": "10.0.0.9:9100", "node": "router", "cluster": "c"},
    {"__name__": "libvirt_up", "job": "libvirt", "instance": "10.0.0.1:9177", "node": "hv1", "cluster": "c"},
    {"__name__": "libvirt_up", "job": "libvirt", "instance": "10.0.0.2:9177", "node": "hv2", "cluster": "c"},
    {"__name__": "ipmi_up", "job": "ipmi", "instance": "10.1.0.1", "node": "hv1", "cluster": "c"},
)
# The plain way: `instance` is all there is.
PLAIN = (
    {"__name__": "node_uname_info", "job": "node", "instance": "hv1:9100", "nodename": "hv1"},
    {"__name__": "node_uname_info", "job": "node", "instance": "hv2:9100", "nodename": "hv2"},
    {"__name__": "ipmi_up", "job": "ipmi", "instance": "hv2"},
)


def answering(series: tuple[Labels, ...]):
    def answer(parameters: Mapping[str, str]) -> Reply:
        if parameters.get("query", "").startswith("max("):
            return vector(({}, 1.0, "20"))
        return vector(*((labels, 1.0, "1") for labels in series))

    return answer


@pytest.mark.parametrize(
    ("series", "label", "nodes"), [(NODES, "node", ["hv1", "hv2"]), (PLAIN, "instance", ["hv1", "hv2"])]
)
def test_the_nodes_prometheus_knows_become_settings_that_load(
    series: tuple[Labels, ...], label: str, nodes: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "lifeboat.yaml"
    with stub_prometheus(answering(series)) as stub:
        code, out = lifeboat(
            "init", "--prometheus", stub.url, "--output", str(output), "--json",
            "--libvirt", "qemu+ssh://root@{node}/system", "--archives", "file:///srv/archives",
        )  # fmt: skip
    assert code == 0
    assert json.loads(out)["nodes"] == nodes
    settings = Settings.load(output)
    assert settings.prometheus
    assert settings.prometheus.node_label == label
    assert settings.prometheus.scrape_interval_seconds == 30.0
    assert [node.libvirt_uri for node in settings.nodes] == [f"qemu+ssh://root@{node}/system" for node in nodes]
    assert lifeboat("config", "check", "--config", str(output))[0] == 0


def test_a_label_that_joins_everything_tells_nothing_apart() -> None:
    assert join_label([labels | {"hostname": "monitoring"} for labels in NODES]) == "node"


@pytest.mark.parametrize(
    ("options", "series", "words"),
    [
        (("--libvirt", "qemu+tls://hv1/system"), NODES, "{node}"),
        (("--archives", "none", "--state", ""), (), "neither a libvirt exporter nor a node_exporter"),
        (("--node-label", "rack"), NODES, "rack"),
    ],
)
def test_what_can_not_work_is_one_line_and_writes_nothing(
    options: tuple[str, ...], series: tuple[Labels, ...], words: str, tmp_path: Path
) -> None:
    with stub_prometheus(answering(series)) as stub:
        code, out = lifeboat("init", "--prometheus", stub.url, "-o", str(tmp_path / "l.yaml"), "--json", *options)
    assert code == BadInput.exit_code
    assert words in out
    assert not list(tmp_path.iterdir())


def test_files_that_are_there_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("cooldown: 1h\n")
    code, out = lifeboat("init", "--prometheus", "http://127.0.0.1:9", "-o", str(tmp_path / "lifeboat.yaml"))
    assert code == BadInput.exit_code
    assert "is there already" in out
    assert yaml.safe_load((tmp_path / "policy.yaml").read_text()) == {"cooldown": "1h"}


def test_what_is_no_prometheus_is_said(tmp_path: Path) -> None:
    with stub_prometheus(lambda _: as_json({"hello": 1})) as stub:
        code, out = lifeboat("init", "--prometheus", stub.url, "-o", str(tmp_path / "lifeboat.yaml"))
    assert code != 0
    assert "not Prometheus" in out
