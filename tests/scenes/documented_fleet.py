"""The SIMULATED fleet, and the files in a scratch folder, that the documents' commands find when a test runs them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from scenes.command_line import lifeboat
from scenes.definitions import definition, disk
from scenes.fleet_history import frames
from scenes.good_model import step
from scenes.simulated_world import BATCH, INFERENCE, stand_in_for_the_fleet
from scenes.stub_openai import serving
from scenes.stub_prometheus import Reply, stub_prometheus, vector
from scenes.watched_fleet import CATALOGUE, DAY, HOUR, START, hours

from agent.approve.approvers import PreapprovedBy
from agent.approve.webhook import Webhook
from agent.documents import write_value
from agent.observe.history import append_history
from agent.service.people.webhook_server import read_secrets
from agent.service.people.webhook_server import serving as serving_webhook
from agent.settings import WebhookSettings
from models.fleet import Fleet
from models.policy.policy import Policy
from models.risk.risk import Risk
from tools.clock import SystemClock
from tools.history.store import HistoryStore
from tools.history.summary_ring import SummaryRing
from tools.journal.sqlite import SqliteJournal
from tools.simulated.fleet import SimulatedFleet

NODES = ("node-a", "node-b", "node-c")
_PEOPLE = '{people: {ana: ["terminal:ana"]}, approvers: [{may: [ana]}], two_people: {stops_guests: false}}'
CAPABILITIES = """<capabilities><host><uuid>x</uuid><cpu><arch>x86_64</arch><model>Skylake-Server-IBRS</model></cpu>
<topology><cells num='1'><cell id='0'>
<memory unit='KiB'>8388608</memory><cpus num='2'><cpu id='0'/><cpu id='1'/></cpus></cell></cells>
</topology></host></capabilities>"""
_SEL = "1 | 11/20/2026 | 11:50:00 | Power Supply PS1_Status | Power Supply AC lost | Asserted\n"


def _prometheus(parameters: Mapping[str, str]) -> Reply:
    if parameters.get("query", "").startswith("max("):
        return vector(({}, 1.0, "20"))
    return vector(
        *(
            ({"__name__": "node_uname_info", "job": "node", "instance": name, "nodename": name}, 1.0, "1")
            for name in NODES
        )
    )


@dataclass
class DocumentedFleet:
    """Three nodes with names as the documents have them, and what stands for the words they leave to the reader."""

    directory: Path
    asks_people: bool
    """policy names who may answer; else whoever sits at the terminal does"""
    fleet: SimulatedFleet = field(default_factory=SimulatedFleet)

    def __post_init__(self) -> None:
        for name in NODES:
            self.fleet.add_node(name)
        self.web = self.fleet.add_vm("node-a", "web", labels=INFERENCE, shared=True, memory_bytes=1 << 30)
        self.batch = self.fleet.add_vm("node-a", "batch", labels=BATCH)

    def snapshot(self) -> Fleet:
        nodes = self.fleet.hypervisors().values()
        return Fleet(
            observed_at=self.fleet.clock.now(),
            nodes=tuple(node.node() for node in nodes),
            vms=tuple(vm for node in nodes for vm in node.vms()),
        )

    def risks(self) -> list[Risk]:
        now = self.fleet.clock.now()
        return [
            Risk(node=n, probability={"2h": 0.95 if n == "node-a" else 0.001}, data_age_seconds=1.0, assessed_at=now)
            for n in NODES
        ]

    def meaning(self, word: str) -> str:
        """What a word in capitals stands for; a host's folders are in the scratch folder."""
        folders = {"/var/lib/lifeboat": "state", "/etc/lifeboat": "etc", "/etc/pki": "etc", "/srv/archives": "archives"}
        for prefix, folder in folders.items():
            word = word.replace(prefix, str(self.directory / folder))
        word = word.replace("http://127.0.0.1:8765", f"http://127.0.0.1:{self.webhook_port}")
        if "archives/ARCHIVE" in word:
            word = word.replace("ARCHIVE", self._archive())
        match word:
            case "EVACUATION":
                return self._open_question()
            case "DONE":
                return self._done()
            case "ARCHIVE":
                return self._archive()
            case "URL":
                return self.model_url
            case _:
                return word

    def _approvals(self) -> list[dict[str, object]]:
        return json.loads(_ok("approvals", "--all", "--json"))["approvals"]

    def _open_question(self) -> str:
        def still_open() -> list[str]:
            states = ("pending", "escalated", "snoozed", "approved")
            return [str(each["evacuation"]) for each in self._approvals() if each["state"] in states]

        if not still_open():
            self.fleet.clock.sleep(3600)
            _ok("run", "--once")
        return still_open()[0]

    def _done(self) -> str:
        lifeboat("approve", self._open_question())
        _ok("run", "--once")
        return str(self._approvals()[0]["evacuation"])

    def _archive(self) -> str:
        listed = json.loads(_ok("archive", "list", "--json"))
        if not listed:
            self._done()
            listed = json.loads(_ok("archive", "list", "--json"))
        return listed[0]["id"]

    def write_files(self, prometheus: str) -> None:
        """What the commands read: settings, policy, plans, definitions, datasets, evidence."""
        here = self.directory
        nodes = "".join(f"  - {{name: {name}, libvirt_uri: 'qemu+tls://{name}/system'}}\n" for name in NODES)
        (here / "policy.yaml").write_text(f"approval: {_PEOPLE if self.asks_people else '{}'}\n")
        (here / "lifeboat.yaml").write_text(
            f"state_dir: {here / 'state'}\nsimulated: true\npolicy_file: policy.yaml\nnodes:\n{nodes}"
            f"archive_url: {(here / 'archives').as_uri()}\nprometheus: {{url: '{prometheus}'}}\n"
        )
        (here / "state").mkdir()
        (here / "etc/libvirt").mkdir()
        new = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=node-b -keyout key -out etc/libvirt/servercert.pem"
        subprocess.run(new.split(), cwd=here, check=True, capture_output=True)
        (here / "web.xml").write_text(definition(disk("<source file='/images/root.qcow2'/>")))
        for name in NODES:
            (here / "definitions" / name).mkdir(parents=True)
            (here / "definitions" / name / "capabilities.xml").write_text(CAPABILITIES)
        (here / "definitions/node-a/web.xml").write_text((here / "web.xml").read_text())
        write_value(here / "fleet.json", self.snapshot())
        write_value(here / "risks.json", self.risks())
        (here / "dataset").mkdir()
        later = timedelta(days=670)  # the documents speak of the turn of the year 2026
        for name, frame in frames(60).items():
            times = [pl.col(each) + later for each, kind in frame.schema.items() if kind.is_temporal()]
            frame.with_columns(times).write_parquet(here / f"dataset/{name}.parquet")
        (here / "incidents.csv").write_text(
            "node,start,end,kind\nnode-c,2025-12-30T00:00:00Z,2025-12-30T02:00:00Z,failure\n"
        )
        (here / "evidence/nodes/node-a").mkdir(parents=True)
        (here / "evidence/nodes/node-a/sel.csv").write_text(_SEL)
        ring, end = SummaryRing(here / "ring"), START + 12 * DAY
        for found in hours(NODES, range(START, end + 1, HOUR)).values():
            ring.put(found, hourly=True)
        ring.newest |= {signal.name: end for signal in CATALOGUE}
        store = HistoryStore(here / "state/history", CATALOGUE)
        append_history(store, ring, CATALOGUE, list(NODES), [], now=datetime.fromtimestamp(end, UTC))
        ring.close()
        _ok("plan", "node-a", "--output", "plan.json")


@contextmanager
def documented_fleet(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *, asks_people: bool
) -> Iterator[DocumentedFleet]:
    """The working directory is `directory`; every command finds this fleet there, and ana sits at the terminal."""
    world = DocumentedFleet(directory, asks_people)
    stand_in_for_the_fleet(world, monkeypatch)  # pyright: ignore[reportArgumentType] — it has what is used of a world
    monkeypatch.chdir(directory)
    monkeypatch.delenv("LIFEBOAT_CONFIG", raising=False)
    monkeypatch.setattr("agent.approve.approvers.TerminalApprover", lambda: PreapprovedBy("terminal:ana"))
    monkeypatch.setattr("agent.approve.identity.terminal_identity", lambda: "terminal:ana")
    with stub_prometheus(_prometheus) as prometheus, serving(step) as model, _webhook(directory) as port:
        world.model_url, world.prometheus_url, world.webhook_port = model.url, prometheus.url, port
        world.write_files(prometheus.url)
        yield world


@contextmanager
def _webhook(directory: Path) -> Iterator[int]:
    """The one that `lifeboat run` would serve, with one key; its port."""
    secret = directory / "etc/webhook-pager"
    secret.parent.mkdir()
    secret.write_text("0" * 64 + "\n")
    journal, clock = SqliteJournal(directory / "asked.sqlite"), SystemClock()
    hook = Webhook(
        journal=journal,
        policy=Policy(),
        clock=clock,
        secrets=read_secrets(WebhookSettings(port=8765, keys={"pager": secret})),
    )
    with serving_webhook(hook, 0) as port:
        yield port
    journal.close()


def _ok(*arguments: str) -> str:
    code, out = lifeboat(*arguments)
    assert code == 0, (arguments, code, out)
    return out
