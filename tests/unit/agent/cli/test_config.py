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
    settings.write_text(f"{SETTINGS}policy_file: {policy}\narchive_key_file: {key}\n")
    assert lifeboat("config", "check", "--config", str(settings))[0] == 0


def test_a_field_that_does_not_exist_is_one_line(settings: Path) -> None:
    settings.write_text("promtheus: {}\n")
    code, out = lifeboat("config", "show", "--config", str(settings))
    assert code == BadInput.exit_code == 2
    assert "promtheus" in out


def test_the_reference_tells_every_field_as_the_code_has_it() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_fields(page)
    assert "|  |" not in page
