"""`lifeboat init` against something that answers as Prometheus does."""

from __future__ import annotations

import json
import re
import socket
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
IPV6 = ({"__name__": "libvirt_up", "job": "libvirt", "instance": "[fd00::1]:9177", "node": "hv1"},)
NOWHERE = ({"__name__": "libvirt_up", "job": "libvirt", "node": "hv1"},)


def answering(series: tuple[Labels, ...], *, up_for_seconds: int = 86_400):
    """A Prometheus that scrapes every 30 s, and was started that long ago."""

    def answer(parameters: Mapping[str, str]) -> Reply:
        span = re.fullmatch(r"max\(count_over_time\(up\[(\d+)s\]\)\)", parameters.get("query", ""))
        if span:
            return vector(({}, 1.0, str(min(int(span[1]), up_for_seconds) // 30)))
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


@pytest.mark.parametrize(
    ("template", "series", "uris"),
    [
        ("qemu+tls://{address}/system", NODES, ["qemu+tls://10.0.0.1/system", "qemu+tls://10.0.0.2/system"]),
        ("qemu+tls://{address}:16514/system?pkipath=/etc", IPV6, ["qemu+tls://[fd00::1]:16514/system?pkipath=/etc"]),
        (None, NODES, ["qemu+tls://10.0.0.1/system", "qemu+tls://10.0.0.2/system"]),
    ],
    ids=["address", "IPv6", "names that this machine does not know"],
)
def test_libvirt_is_reached_where_prometheus_scrapes_the_node(
    template: str | None, series: tuple[Labels, ...], uris: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = socket.getaddrinfo

    def knows_addresses_only(host: str, *rest: object, **more: object) -> object:
        if host.startswith("hv"):
            raise socket.gaierror("no such name")
        return known(host, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", knows_addresses_only)
    output = tmp_path / "lifeboat.yaml"
    given = ("--libvirt", template) if template else ()
    with stub_prometheus(answering(series)) as stub:
        code, out = lifeboat("init", "--prometheus", stub.url, "--output", str(output), "--json", *given)
    assert code == 0, out
    written = yaml.safe_load(output.read_text())
    assert [node["libvirt_uri"] for node in written["nodes"]] == uris


def test_how_often_a_prometheus_scrapes_is_told_two_minutes_after_its_start(tmp_path: Path) -> None:
    output = tmp_path / "lifeboat.yaml"
    with stub_prometheus(answering(NODES, up_for_seconds=120)) as stub:
        code, _ = lifeboat("init", "--prometheus", stub.url, "--output", str(output), "--json")
    assert code == 0
    assert yaml.safe_load(output.read_text())["prometheus"]["scrape_interval_seconds"] == 30.0


def test_a_folder_that_is_not_there_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    code, out = lifeboat("init", "--prometheus", "http://127.0.0.1:9", "-o", str(tmp_path / "none" / "lifeboat.yaml"))
    assert code == BadInput.exit_code
    assert "is not there" in out


def test_a_label_that_joins_everything_tells_nothing_apart() -> None:
    assert join_label([labels | {"hostname": "monitoring"} for labels in NODES]) == "node"


@pytest.mark.parametrize(
    ("options", "series", "words"),
    [
        (("--libvirt", "qemu+tls://hv1/system"), NODES, "{node}"),
        (("--libvirt", "qemu+tls://{address}/system"), NOWHERE, "does not say at which address hv1 is"),
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
