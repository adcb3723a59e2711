"""`lifeboat config` on files as operators write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scenes.command_line import lifeboat

from agent.configuration.page import PAGE, with_fields
from models.errors import BadInput

SETTINGS = """\
prometheus:
  url: "https://reader:sesame@prometheus/?token=opensesame"
  headers: {Authorization: "Bearer opensesame"}
nodes:
  - &first
    name: node-a
    libvirt_uri: qemu+tls://node-a/system
    cpu_overcommit: 2
  - <<: *first
    name: node-b
archive_options: {key: opensesame}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "lifeboat.yaml"
    file.write_text(SETTINGS)
    return file


def shown(*arguments: object) -> dict[str, tuple[object, str]]:
    code, out = lifeboat("config", "show", "--json", *map(str, arguments))
    assert code == 0
    told = json.loads(out)
    return {field["name"]: (field["value"], field["where"]) for field in told["settings"] + told["policy"]}


def test_each_value_is_shown_with_the_line_or_the_variable_that_set_it(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("trigger:\n  horizon: 1h\n")
    monkeypatch.setenv("LIFEBOAT_INTERVAL", "90s")
    monkeypatch.setenv("LIFEBOAT_FORECAST__RETRAIN", "7d")
    monkeypatch.setenv("LIFEBOAT_PROMETHEUS__NODE_LABEL", "node")
    found = shown("--config", settings, "--policy", policy)
    assert found["nodes[0].name"] == ("node-a", f"{settings}:6")
    assert found["nodes[1].name"] == ("node-b", f"{settings}:10")
    assert found["nodes[1].cpu_overcommit"] == (2.0, f"{settings}:8")
    assert found["trigger.horizon"] == ("1h", f"{policy}:2")
    assert found["interval"] == ("1m30s", "LIFEBOAT_INTERVAL")
    assert found["forecast.retrain"] == ("7d", "LIFEBOAT_FORECAST__RETRAIN")
    assert found["prometheus.node_label"] == ("node", "LIFEBOAT_PROMETHEUS__NODE_LABEL")
    assert "shared_paths" not in found
    assert shown("--config", settings, "--all")["shared_paths"] == ([], "")


@pytest.mark.parametrize("form", [[], ["--json"], ["--origin", "--all"]])
def test_nothing_that_logs_in_is_shown(settings: Path, form: list[str]) -> None:
    code, out = lifeboat("config", "show", "--config", str(settings), *form)
    assert code == 0
    assert "sesame" not in out
    assert "Authorization" in out


def wrong(settings: Path) -> str:
    """What `lifeboat config check` finds wrong; empty when nothing is."""
    code, out = lifeboat("config", "check", "--config", str(settings), "--json")
    found = "\n".join(json.loads(out)["wrong"]) if out.startswith("{") else out
    assert code == (2 if found else 0)
    return found


def test_everything_that_is_wrong_is_said_at_once(
    settings: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("triger: {}\n")
    key = tmp_path / "key"
    settings.write_text(
        f"{SETTINGS}policy_file: {policy}\narchive_key_file: {key}\nwebhook: {{port: 9000, keys: {{ops: {tmp_path}}}}}\n"
    )
    code, out = lifeboat("config", "check", "--config", str(settings), "--json")
    told = json.loads(out)
    assert code == 2
    assert [str(policy) in told["wrong"][0], str(key) in told["wrong"][1], "webhook.keys.ops" in told["wrong"][2]] == [
        True
    ] * 3
    assert any("signals" in line for line in told["right"])

    policy.write_text("")
    key.write_bytes(bytes(32))
    key.chmod(0o600)
    settings.write_text(f"{SETTINGS}policy_file: {policy}\narchive_key_file: {key}\n")
    assert lifeboat("config", "check", "--config", str(settings))[0] == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("interval: 0s", "interval: input should be greater than or equal to 1 second"),
        ("interval: 30", "interval: 30 has no unit: write 30s"),
        ("lease: 10ms", "lease: input should be greater than or equal to 1 second"),
        ("state_dir: ''", "state_dir: expected a directory"),
        ("runs_on: node-c", "runs_on: 'node-c' is none of the nodes"),
        ("status: {port: 9000}\nwebhook: {port: 9000}", "status.port and webhook.port are both 9000"),
        ("loki: {url: 'http://loki:3100', query: 'job'}", "loki.query: expected $node in it"),
        ("llm: {base_url: 'model:1/v1', model: m}", "llm.base_url: expected a URL that starts with http://"),
        (
            "llm: {base_url: 'http://model/v1', model: m, timeout_seconds: -1}",
            "llm.timeout_seconds: input should be greater",
        ),
        ("archive_url: s4://bucket", "archive_url: no store is called s4"),
        ("database_url: mysql://db/x", "database_url: mysql is not supported"),
    ],
)
def test_what_no_agent_could_run_with_is_one_line(settings: Path, content: str, said: str) -> None:
    settings.write_text(f"{SETTINGS[: SETTINGS.index('archive_options')]}{content}\n")
    told = wrong(settings)
    assert said in told
    assert told.count("\n") <= 1
    assert "sesame" not in told


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LIFEBOAT_INTERVAL", "", "variable LIFEBOAT_INTERVAL: interval: '' is not a duration"),
        ("LIFEBOAT_PROMETHEUS__URLL", "x", "variable LIFEBOAT_PROMETHEUS__URLL: prometheus.urll: not known here"),
        ("LIFEBOAT_SHARED_POOLS", "fast", "variable LIFEBOAT_SHARED_POOLS: expected JSON"),
        ("LIFEBOAT_STATEDIR", "/x", "variable LIFEBOAT_STATEDIR: not known here, did you mean LIFEBOAT_STATE_DIR?"),
        ("LIFEBOAT_PORT_9115_TCP", "tcp://10.0.0.1:9115", ""),
    ],
)
def test_a_variable_that_is_wrong_is_named(
    settings: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    told = wrong(settings)
    assert told.startswith(said) if said else not told


def test_a_node_that_is_none_is_one_line(settings: Path) -> None:
    for node, said in {
        "name: '', libvirt_uri: 'qemu+tls://a/system'": "nodes[0].name",
        "name: a, libvirt_uri: 'qemu+tls://a/system', cpu_overcommit: 0": "cpu_overcommit",
        "name: a, libvirt_uri: 'qemu+tls://a/system', memory_reserved_bytes: -5": "memory_reserved_bytes",
        "name: a, libvirt_uri: 'test:///default'": "node a: libvirt_uri 'test:///default' is not a QEMU connection",
    }.items():
        settings.write_text(f"nodes: [{{{node}}}]\n")
        assert said in wrong(settings)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"xoxb-opensesame\n", None),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"xoxp-opensesame", "expected a token that starts with xoxb-"),
        (b"xoxb-opensesame\nsecond", "holds 2 lines"),
        (b"xoxb-open sesame", "expected a token, found more"),
        (b"xoxb-\xff", "is no text"),
    ],
)
def test_a_file_that_holds_no_secret_is_one_line_without_it(
    settings: Path, tmp_path: Path, content: bytes, said: str | None
) -> None:
    token = tmp_path / "token"
    token.write_bytes(content)
    settings.write_text(f"slack: {{channel: C024BE91L, bot_token_file: {token}, app_token_file: {tmp_path / 'app'}}}\n")
    (tmp_path / "app").write_text("xapp-1\n")
    told = wrong(settings)
    assert (said in told) if said else not told
    assert "sesame" not in told


def test_an_archive_key_is_its_owners_alone_and_a_credential_of_systemds_is_lent(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "lifeboat_sealing"
    key.write_text("ab" * 32 + "\n")
    key.chmod(0o440)
    settings.write_text("archive_key_file: credential:sealing\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert not wrong(settings), "systemd lends it by an access list"
    key.chmod(0o444)
    assert "can be read by others (mode 0444)" in wrong(settings)
    key.chmod(0o440)
    settings.write_text(f"archive_key_file: {key}\n")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert "can be read by others (mode 0440)" in wrong(settings)


def test_a_field_that_does_not_exist_is_one_line(settings: Path) -> None:
    settings.write_text("promtheus: {}\n")
    code, out = lifeboat("config", "show", "--config", str(settings))
    assert code == BadInput.exit_code == 2
    assert "promtheus" in out


def test_the_reference_tells_every_field_as_the_code_has_it() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_fields(page)
    assert "|  |" not in page
