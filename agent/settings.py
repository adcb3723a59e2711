"""Where lifeboat reads and acts: `lifeboat.yaml`; what it leaves out may come from `LIFEBOAT_…` variables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from agent.documents import field_at_fault
from models.base import MOST_BYTES, Duration, Value, parse_duration
from models.errors import BadInput
from tools.credentials import SecretFile
from tools.input_file import one_line, read_yaml_mapping

PREFIX = "LIFEBOAT_"
"""of variables that give a field"""


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            "expected a URL that starts with http:// or https:// and names a host"
        )  # it may hold a password
    return url


HttpUrl = Annotated[str, AfterValidator(_http_url)]
Port = Annotated[int, Field(ge=1, le=65535)]


class PrometheusSettings(Value):
    url: HttpUrl
    """such as `http://127.0.0.1:9090`"""
    node_label: str = "instance"
    """the label that names nodes; a `:port` at its end is left off"""
    scrape_interval_seconds: float = Field(default=15.0, gt=0)
    """seconds: how often the exporters are scraped; what changes faster can't be seen"""
    timeout_seconds: float = Field(default=10.0, gt=0)
    """seconds, for one answer"""
    headers: dict[str, str] = Field(default_factory=dict)
    """sent along, such as a tenant id or an authorisation"""
    recorded: bool = False
    """Prometheus loads deploy/prometheus-rules.yaml: summaries are read as it recorded them"""


class BmcSettings(Value):
    """IPMI over LAN, for the SEL."""

    address: str = Field(min_length=1)
    """host name or IP address"""
    port: Port = 623
    """UDP"""
    user: str = ""
    """one that may read (IPMI privilege USER is enough)"""
    password_file: SecretFile | None = None
    """holds that user's password"""


class NodeSettings(Value):
    """One libvirt node."""

    name: str = Field(min_length=1)
    """as the metrics' `node_label` has it"""
    libvirt_uri: str
    """as lifeboat connects to it, such as `qemu+tls://node-a/system` or `qemu+ssh://root@node-a/system`"""
    libvirt_read_uri: str | None = None
    """the same node by an identity that may only read: looks go by it, and libvirt_uri is opened to plan and to act; None:
    libvirt_uri for all (docs/least-privilege.md)"""
    migration_uri: str | None = None
    """as the other nodes connect to it for peer-to-peer migration; None: the same as libvirt_uri"""
    migration_address: str | None = None
    """host name or address that takes the guests' memory, such as one on a migration network; None: the host of
    migration_uri. The certificate QEMU shows there must carry it"""
    hardware_logs: tuple[Path, ...] = ()
    """files or directories with this node's collected logs: syslog lines, or systemd's journal export (`*.export`)"""
    bmc: BmcSettings | None = None
    """read for its SEL; None: no BMC of this node is asked"""
    failure_domain: str = ""
    """rack or power feed: what fails together has the same"""
    memory_reserved_bytes: int = Field(default=1 << 30, ge=0, le=MOST_BYTES)
    """kept free for the node itself, in bytes"""
    cpu_overcommit: float = Field(default=4.0, gt=0)
    """virtual CPUs that may be placed for each CPU thread"""
    migration_bytes_per_second: float = Field(default=125_000_000.0, gt=0)
    """what its migration network carries, in bytes per second (1 Gbit/s)"""
    archive_bytes_per_second: float = Field(default=100_000_000.0, gt=0)
    """what it writes to the archive store, in bytes per second"""


def _with_node(query: str) -> str:
    if "$node" not in query:
        raise ValueError("expected $node in it, which stands for the node's name")
    return query


class LokiSettings(Value):
    """Grafana Loki, for nodes whose logs are collected there."""

    url: HttpUrl
    """such as `http://loki:3100`"""
    query: Annotated[str, AfterValidator(_with_node)]
    """LogQL that selects one node's kernel and BMC lines; `$node` stands for its name: `{host="$node"} |~ "kernel|ipmi"`"""
    headers: dict[str, str] = Field(default_factory=dict)
    """sent along, such as `X-Scope-OrgID`"""
    timeout_seconds: float = Field(default=10.0, gt=0)
    """seconds, for one answer"""


class ForecastSettings(Value):
    """Learned models beside the documented limits (docs/forecast.md)."""

    model: Path | None = None
    """trained on this fleet's own history: `lifeboat history`, then `lifeboat train`"""
    components: dict[Literal["storage"], Path] = Field(default_factory=dict[Literal["storage"], Path])
    """by component: a model trained on data about such parts, whose columns the signals name (`column`)"""
    trusted_key: SecretFile | None = None
    """Ed25519 public key (PEM): model files that it did not sign are not used"""
    incidents: Path | None = None
    """CSV of what people know: failures and planned work (`node,start,end,kind`)"""
    retrain: Duration | None = Field(default=None, ge=timedelta(hours=1))
    """how often `lifeboat run` trains a challenger of `model` and has it take its place where it wins; None: never"""
    sign_key: SecretFile | None = None
    """Ed25519 private key (PEM) that such a model is signed with; needed with `trusted_key`"""


class LlmSettings(Value):
    """Any OpenAI-compatible endpoint."""

    base_url: HttpUrl
    """such as `https://api.openai.com/v1` or `http://127.0.0.1:11434/v1`"""
    model: str
    """as the endpoint calls it"""
    api_key_file: SecretFile | None = None
    """holds the key, where one is needed"""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """seconds, for the whole conversation; after it the solver plans"""
    interface: Literal["auto", "tools_required", "tools_auto", "json_schema", "json_object", "plain_json"] = "auto"
    """how the model is made to answer in form (docs/llm.md); `auto` finds out by asking, and remembers it for a week"""
    tokens_per_day: int | None = Field(default=None, ge=1)
    """prompt and completion together, of all models and processes that share state_dir, by UTC days; None: no limit"""
    spend_per_day: float | None = Field(default=None, gt=0)
    """in whatever money the prices are in; None: no limit"""
    prompt_price: float = Field(default=0.0, ge=0)
    """of a million tokens sent"""
    completion_price: float = Field(default=0.0, ge=0)
    """of a million tokens that the model writes"""
    fallback: LlmSettings | None = None
    """asked when this one gives no plan that can be used; after it the solver plans"""


class SlackSettings(Value):
    """A Slack app: in Socket Mode nothing has to reach this host."""

    channel: str = Field(pattern=r"^[CGD][A-Z0-9]{2,}$")
    """id of the channel where people are asked, such as `C024BE91L`"""
    bot_token_file: SecretFile
    """holds the bot token, `xoxb-…`"""
    app_token_file: SecretFile | None = None
    """Socket Mode: holds the app-level token, `xapp-…`"""
    signing_secret_file: SecretFile | None = None
    """HTTP in its place: Slack sends what people press to `/slack` of the `webhook` port, signed with the secret in this file"""
    api_url: HttpUrl = "https://slack.com/api/"
    """another one for a stand-in, or a proxy"""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.app_token_file is None) == (self.signing_secret_file is None):
            raise ValueError("expected one of app_token_file (Socket Mode) and signing_secret_file (HTTP)")
        return self


class WebhookSettings(Value):
    """Other systems read questions and answer them, with signed JSON (docs/approval.md)."""

    port: Port
    """of 127.0.0.1"""
    keys: dict[str, SecretFile] = Field(default={})
    """name of a key → file with the secret, 32 bytes or more. Who holds it is `webhook:NAME` in policy's approval.people"""


class KeepSettings(Value):
    """How long `lifeboat run` keeps what would otherwise grow without end. The journal, which is the audit log, is kept whole."""

    reports: Duration = Field(default=parse_duration("365d"), ge=timedelta(hours=1))
    """`reports/`: the pages of plans and evacuations; the journal goes on saying what was done"""
    conversations: Duration = Field(default=parse_duration("365d"), ge=timedelta(hours=1))
    """`llm/`: what language models were told and answered; after it `lifeboat explain` has the plan without the conversation"""
    history: Duration = Field(default=parse_duration("1825d"), ge=timedelta(days=30))
    """`history/`: the fleet's past by day, which models are trained on"""


class StatusSettings(Value):
    """The background agent says how it is over HTTP: `/` a page, `/metrics`, `/healthz`, `/readyz`."""

    port: Port
    """of 127.0.0.1; read-only. To be seen elsewhere it goes through a proxy of yours that asks who is there"""


class LogSettings(Value):
    """What `lifeboat run`, `apply` and `resume` log, on stderr."""

    format: Literal["auto", "json", "console"] = "auto"
    """one JSON object a line, or lines for people; `auto`: for people on a terminal, JSON everywhere else"""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """lines below it are left out"""


class OtelSettings(Value):
    """Spans of what `lifeboat run`, `apply` and `resume` do, by OTLP over HTTP (docs/how-to/opentelemetry.md)."""

    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s/]+")
    """of the collector, such as `http://127.0.0.1:4318`; without a path, `/v1/traces` is added. None: what
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT says; nothing is sent where neither is set"""
    headers: dict[str, str] = Field(default_factory=dict)
    """sent along, such as an authorisation, besides those of OTEL_EXPORTER_OTLP_HEADERS"""
    timeout_seconds: float | None = Field(default=None, gt=0)
    """seconds, for one batch of spans and all its tries, after which it is lost; None: OTEL_EXPORTER_OTLP_TIMEOUT, else 10"""


class Settings(BaseSettings):
    """What `lifeboat.yaml` holds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    prometheus: PrometheusSettings | None = None
    """where the metrics are; None: only logs are read"""
    nodes: tuple[NodeSettings, ...] = ()
    """the fleet"""
    loki: LokiSettings | None = None
    """read for every node, besides its `hardware_logs`"""
    archive_url: str = ""
    """where cold archives go, as fsspec writes it: `file:///srv/archives`, `s3://bucket/path`"""
    archive_key_file: SecretFile | None = None
    """32 bytes or 64 hex digits; archives are sealed with it (AES-256-GCM). Who loses it loses the archives"""
    verify_archives: Duration | None = Field(default=parse_duration("30d"), ge=timedelta(hours=1))
    """how often `lifeboat run` reads every byte of each archive again; None: never, such as where the store charges for it"""
    archive_options: dict[str, Any] = {}
    """passed on to fsspec, such as `endpoint_url` for an S3-compatible store"""
    shared_paths: tuple[str, ...] = ()
    """directories that every node reaches under the same path (NFS, a cluster file system): disks there need no copy.
    Disks and pools over the network count as shared without being named"""
    shared_pools: tuple[str, ...] = ()
    """names of storage pools of which the same holds"""
    state_dir: Path = Path("/var/lib/lifeboat")
    """journal, audit log and signing key"""
    database_url: str | None = None
    """PostgreSQL that several lifeboats share, such as `postgresql://lifeboat@db/lifeboat`: journal, lease and all that is not
    over are there, one of them leads, and another takes over when it is gone (docs/agents.md). None: files in state_dir"""
    agent: str = Field(default="", max_length=80)
    """what the other lifeboats call this one; empty: the host's name, and a few letters for its state_dir"""
    lease: Duration = Field(default=parse_duration("12s"), ge=timedelta(seconds=1), le=timedelta(minutes=5))
    """after so long without a sign of life of the lifeboat that leads, another takes over"""
    runs_on: str | None = None
    """node of the fleet on which this lifeboat itself runs; None: found out by host name, and by uuid where it runs in a vm"""
    policy_file: Path | None = None
    """what lifeboat may do (docs/policy.md); None: the careful defaults"""
    signals_file: Path | None = None
    """signals added to, or put in place of, the shipped catalogue"""
    forecast: ForecastSettings = ForecastSettings()
    """learned models"""
    llm: LlmSettings | None = None
    """who plans with `--planner llm` (docs/llm.md)"""
    slack: SlackSettings | None = None
    """where `lifeboat run` asks people, besides `lifeboat approvals`"""
    webhook: WebhookSettings | None = None
    """where other systems may answer, while `lifeboat run` runs"""
    status: StatusSettings | None = None
    """where `lifeboat run` says how it is; None: nowhere"""
    log: LogSettings = LogSettings()
    """how it logs (docs/observability.md)"""
    otel: OtelSettings | None = None
    """which OpenTelemetry collector is sent spans; None: the one that OTEL_… variables name, if any"""
    interval: Duration = Field(default=parse_duration("30s"), ge=timedelta(seconds=1))
    """how often the background agent looks"""
    keep: KeepSettings = KeepSettings()
    """how long reports, conversations and history are kept"""
    simulated: bool = False
    """the nodes behind this file are simulated; every report says so"""

    @model_validator(mode="after")
    def _has_a_port(self) -> Self:
        if self.slack is not None and self.slack.signing_secret_file is not None and self.webhook is None:
            raise ValueError("slack.signing_secret_file: expected webhook.port as well, where Slack's requests arrive")
        if self.webhook is not None and self.status is not None and self.webhook.port == self.status.port:
            raise ValueError(f"status.port and webhook.port are both {self.status.port}: name another for one of them")
        return self

    @model_validator(mode="after")
    def _runs_on_a_node(self) -> Self:
        if self.runs_on is not None and self.runs_on not in {node.name for node in self.nodes}:
            raise ValueError(f"runs_on: {self.runs_on[:60]!r} is none of the nodes")
        return self

    @field_validator("state_dir", mode="before")
    @classmethod
    def _somewhere(cls, given: Any) -> Any:
        if given == "":
            raise ValueError("expected a directory")
        return given

    @field_validator("nodes")
    @classmethod
    def _unique(cls, nodes: tuple[NodeSettings, ...]) -> tuple[NodeSettings, ...]:
        names = [node.name for node in nodes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"node {name!r} appears twice")
        return nodes

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read a settings file. Raises BadInput with the file, the field and what was expected."""
        return cls.of(read_yaml_mapping(path, what="settings"), f"settings file {path}")

    @classmethod
    def of(cls, content: dict[str, Any], source: str) -> Settings:
        """What a settings file of this content means. Raises BadInput with `source`, the field and what was expected."""
        private = next((key for key in content if key.startswith("_")), None)
        if private is not None:  # pydantic-settings would take it for an option of its own
            raise BadInput(f"{source}: {private[:40]}: not known here", hint="fix the field")
        try:
            return cls(**content)
        except ValidationError as error:
            variable = _variable_at_fault(error.errors(include_url=False)[0]["loc"], content)
            hint = "fix the variable" if variable else "fix the field"
            where = f"variable {variable}" if variable else source
            raise BadInput(f"{where}: {field_at_fault(error, content, model=cls)}", hint=hint) from error
        except SettingsError as error:
            field = re.search(r'field "(\w+)"', str(error))
            what = f"variable {PREFIX}{field[1].upper()}: expected JSON" if field else f"environment: {one_line(error)}"
            raise BadInput(what, hint="fix the variable") from error


def _variable_at_fault(place: Sequence[int | str], content: dict[str, Any]) -> str | None:
    """The variable that gave the field there; None: the file did."""
    here: Any = content
    names: list[str] = []
    for part in place:
        if not isinstance(part, str):
            break
        names.append(part)
        here = cast("dict[str, Any]", here).get(part) if isinstance(here, dict) else None
    if here is not None:
        return None
    given = {name.upper(): name for name in os.environ}
    variables = (f"{PREFIX}{'__'.join(names[:end])}".upper() for end in range(len(names), 0, -1))
    return next((given[each] for each in variables if each in given), None)


def variables_that_may_be_meant(environment: Iterable[str]) -> Iterator[str]:
    """Of variables that look like settings' and are none, what is wrong, where it can be guessed. Others are let be: where
    Kubernetes runs a service called lifeboat, it sets `LIFEBOAT_PORT` and the like for everybody."""
    for name in environment:
        field = name.removeprefix(PREFIX).partition("__")[0].lower()
        if name.startswith(PREFIX) and field not in Settings.model_fields:
            for near in get_close_matches(field, Settings.model_fields, n=1, cutoff=0.8):
                yield f"variable {name}: not known here, did you mean {PREFIX}{near.upper()}?"


DEFAULT_PATHS = (Path("lifeboat.yaml"), Path("/etc/lifeboat/lifeboat.yaml"))


def load_settings(path: Path | None) -> Settings:
    """The settings at `path`, or at the first of DEFAULT_PATHS that exists. Raises BadInput."""
    return Settings.load(settings_path(path))


def load_settings_if_any(path: Path | None) -> Settings | None:
    """As `load_settings`; None when no file is named and none of DEFAULT_PATHS exists. Raises BadInput."""
    there = path is not None or any(candidate.exists() for candidate in DEFAULT_PATHS)
    return load_settings(path) if there else None


def settings_path(path: Path | None) -> Path:
    """`path`, or the first of DEFAULT_PATHS that exists. Raises BadInput when none does."""
    if path is not None:
        return path
    for candidate in DEFAULT_PATHS:
        if candidate.exists():
            return candidate
    raise BadInput(
        f"no settings file: neither {' nor '.join(str(candidate) for candidate in DEFAULT_PATHS)} is there",
        hint="write one (see the README), or name it with --config",
    )
