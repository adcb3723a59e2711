"""`credential:NAME` in the settings, as inside and outside the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.settings import Settings
from models.errors import BadInput

LLM = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}


def key_file(name: str) -> Path | None:
    settings = Settings.of({"llm": LLM | {"api_key_file": name}}, "settings")
    assert settings.llm is not None
    return settings.llm.api_key_file


def test_a_credential_is_found_by_its_name_and_by_the_one_systemd_gives_files_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "lifeboat_from-folder").write_text("key")
    (tmp_path / "single").write_text("key")
    assert key_file("credential:from-folder") == tmp_path / "lifeboat_from-folder"
    assert key_file("credential:single") == tmp_path / "single"
    assert key_file("/etc/key") == Path("/etc/key")


def test_outside_the_service_settings_load_and_name_where_the_service_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert key_file("credential:key") == Path("/run/credentials/lifeboat.service/lifeboat_key")


def test_slack_and_signing_keys_may_be_credentials_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = Settings.of(
        {
            "slack": {"channel": "C024BE91L", "bot_token_file": "credential:bot", "app_token_file": "credential:app"},
            "webhook": {"port": 9000, "keys": {"ops": "credential:ops"}},
            "archive_key_file": "credential:archives",
            "nodes": [{"name": "a", "libvirt_uri": "qemu:///system",
                       "bmc": {"address": "x", "password_file": "credential:bmc"}}],
        },
        "settings",
    )  # fmt: skip
    assert settings.slack is not None
    assert settings.webhook is not None
    assert settings.nodes[0].bmc is not None
    named = (settings.slack.bot_token_file, settings.slack.app_token_file, settings.webhook.keys["ops"],
             settings.archive_key_file, settings.nodes[0].bmc.password_file)  # fmt: skip
    assert {path.parent for path in named if path is not None} == {tmp_path}


@pytest.mark.parametrize("name", ["credential:", "credential:../shadow", "credential:.."])
def test_a_credential_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="systemd credential"):
        key_file(name)
