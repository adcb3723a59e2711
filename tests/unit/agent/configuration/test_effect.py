"""What a reload does with each field of the settings: taken over, or refused with the field's name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from agent.configuration.check import require_reloadable
from agent.configuration.effect import takes_effect
from agent.configuration.fields import documented_fields, leaves
from agent.settings import Settings
from models.errors import BadInput

BASE: dict[str, Any] = {
    "prometheus": {"url": "http://prometheus:9090"},
    "nodes": [{"name": "a", "libvirt_uri": "qemu+tls://a/system", "bmc": {"address": "a-bmc"}}],
    "loki": {"url": "http://loki:3100", "query": '{host="$node"}'},
    "forecast": {},
    "llm": {"base_url": "http://model/v1", "model": "m"},
    "slack": {"channel": "C024BE91L", "bot_token_file": "bot", "app_token_file": "app"},
    "webhook": {"port": 9001},
    "status": {"port": 9002},
    "log": {},
    "otel": {"endpoint": "http://collector:4318"},
    "keep": {},
    "state_dir": "state",
    "archive_url": "file:///srv/archives",
}
ANOTHER: dict[str, Any] = {
    "prometheus": None,
    "nodes[]": [{"name": "b", "libvirt_uri": "qemu+tls://b/system"}],
    "loki": None,
    "archive_url": "file:///srv/others",
    "archive_key_file": "sealing",
    "verify_archives": "7d",
    "archive_options": {"auto_mkdir": True},
    "shared_paths": ["/srv/nfs"],
    "shared_pools": ["shared"],
    "state_dir": "elsewhere",
    "database_url": "postgresql://lifeboat@db/lifeboat",
    "agent": "west",
    "lease": "30s",
    "runs_on": "a",
    "policy_file": "policy.yaml",
    "signals_file": "signals.yaml",
    "forecast": {"retrain": "7d"},
    "llm": None,
    "slack": None,
    "webhook": None,
    "status": None,
    "log": {"level": "debug"},
    "otel": None,
    "interval": "45s",
    "keep": {"reports": "30d"},
    "simulated": True,
    "prometheus.url": "http://other:9090",
    "prometheus.node_label": "node",
    "prometheus.scrape_interval_seconds": 5.0,
    "prometheus.timeout_seconds": 5.0,
    "prometheus.headers": {"X-Scope-OrgID": "1"},
    "prometheus.recorded": True,
    "nodes[].name": "b",
    "nodes[].libvirt_uri": "qemu+tls://b/system",
    "nodes[].libvirt_read_uri": "qemu+tls://a-read/system",
    "nodes[].migration_uri": "qemu+tls://a-migration/system",
    "nodes[].migration_address": "10.0.0.1",
    "nodes[].hardware_logs": ["/var/log/a.log"],
    "nodes[].bmc": None,
    "nodes[].failure_domain": "rack-1",
    "nodes[].memory_reserved_bytes": 0,
    "nodes[].cpu_overcommit": 2.0,
    "nodes[].migration_bytes_per_second": 1e9,
    "nodes[].archive_bytes_per_second": 1e9,
    "nodes[].bmc.address": "b-bmc",
    "nodes[].bmc.port": 624,
    "nodes[].bmc.user": "reader",
    "nodes[].bmc.password_file": "password",
    "loki.url": "http://other:3100",
    "loki.query": '{node="$node"}',
    "loki.headers": {"X-Scope-OrgID": "1"},
    "loki.timeout_seconds": 5.0,
    "forecast.model": "model",
    "forecast.components": {"storage": "drives"},
    "forecast.trusted_key": "public.pem",
    "forecast.incidents": "incidents.csv",
    "forecast.retrain": "7d",
    "forecast.sign_key": "private.pem",
    "llm.base_url": "http://other/v1",
    "llm.model": "n",
    "llm.api_key_file": "app",
    "llm.timeout_seconds": 5.0,
    "llm.interface": "plain_json",
    "llm.tokens_per_day": 1000,
    "llm.spend_per_day": 1.0,
    "llm.prompt_price": 1.0,
    "llm.completion_price": 1.0,
    "llm.fallback": {"base_url": "http://other/v1", "model": "n"},
    "slack.channel": "C024BE91M",
    "slack.bot_token_file": "bot2",
    "slack.app_token_file": "app2",
    "slack.signing_secret_file": "sealing",
    "slack.api_url": "http://stand-in/api/",
    "webhook.port": 9003,
    "webhook.keys": {"ops": "sealing"},
    "status.port": 9003,
    "log.format": "json",
    "log.level": "error",
    "otel.endpoint": "http://other:4318",
    "otel.headers": {"Authorization": "x"},
    "otel.timeout_seconds": 5.0,
    "keep.reports": "30d",
    "keep.conversations": "30d",
    "keep.history": "60d",
}
"""field, as the reference has it → another value than in BASE, or than the default"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    key = Ed25519PrivateKey.generate()
    Path("private.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    Path("public.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for name, content in {
        "bot": "xoxb-1", "bot2": "xoxb-2\n", "app": "xapp-1", "app2": "xapp-2\n", "sealing": "ab" * 32, "password": "s3 same",
        "drives": "", "incidents.csv": "", "policy.yaml": "cooldown: 1h\n", "signals.yaml": "signals: []\n",
    }.items():  # fmt: skip
        Path(name).write_text(content)
        Path(name).chmod(0o600)
    return tmp_path


def written(content: dict[str, Any]) -> Path:
    Path("lifeboat.yaml").write_text(yaml.safe_dump(content))
    return Path("lifeboat.yaml")


def changed(field: str) -> dict[str, Any]:
    content = copy.deepcopy(BASE)
    *inside, last = field.split(".")
    here: Any = content
    for name in inside:
        here = here[name.removesuffix("[]")]
        here = here[0] if name.endswith("[]") else here
    here[last.removesuffix("[]")] = ANOTHER[field]
    if field == "slack.signing_secret_file":
        del here["app_token_file"]
    return content


def test_each_field_is_in_the_table() -> None:
    assert ANOTHER.keys() == {field.name for field in documented_fields(Settings)}


@pytest.mark.parametrize("field", [field for field in ANOTHER if takes_effect(field) == "restart"])
def test_what_takes_a_restart_is_refused_at_a_reload(folder: Path, field: str) -> None:
    before = Settings.load(written(BASE))
    with pytest.raises(BadInput, match=rf"{field}: takes effect at a restart alone"):
        require_reloadable(before, written(changed(field)), None)


@pytest.mark.slow
@pytest.mark.parametrize("field", [field for field in ANOTHER if takes_effect(field) != "restart"])
def test_what_else_is_changed_is_taken_over_at_a_reload(folder: Path, field: str) -> None:
    before = Settings.load(written(BASE))
    now = require_reloadable(before, written(changed(field)), None)
    old, new = dict(leaves(before)), dict(leaves(now))
    different = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    assert different
    beside = {"slack.app_token_file"} if field == "slack.signing_secret_file" else set[str]()
    assert all(name.startswith(field.replace("[]", "[0]" if "." in field else "")) for name in different - beside)


def test_what_is_made_already_is_said_to_stay_as_it_is() -> None:
    assert "only with the key of then" in takes_effect("archive_key_file")
    assert takes_effect("interval") == "reload"
