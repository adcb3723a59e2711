"""Sound files of every kind, small, and the command that reads each: what `bench/mutations.py` breaks."""

from __future__ import annotations

import json
import random
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.mutation_data import STATE, Mutated, dataset, incidents_file, model_file, mutate_model, mutate_parquet

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
GIB = 1 << 30
_UNANSWERED = STATE + 'prometheus: {url: "http://127.0.0.1:1"}\n'
"""everything is read, then nobody answers: exit code 1"""


def _as_bytes(content: bytes, chance: random.Random, mutated: Mutated) -> bytes:
    return mutated(content, chance)


@dataclass(frozen=True)
class Kind:
    """One kind of file that an operator or a stranger hands in."""

    name: str
    command: tuple[str, ...]
    """what reads it, run in the directory that `build` filled"""
    mutates: tuple[str, ...]
    """the files of this kind there, as glob patterns"""
    build: Callable[[Path], None]
    sound: frozenset[int] = frozenset({0})
    """how the command ends on the sound files"""
    mutate: Callable[[bytes, random.Random, Mutated], bytes] = _as_bytes
    follows: Callable[[Path, Path, bytes], dict[Path, bytes]] | None = None
    """from the directory, the broken file and its content: files that have to fit it, such as a signature"""
    share: float = 1.0
    """of the cases asked for; less where each costs seconds (a private Prometheus)"""


def _plan_files(world: Path) -> None:
    from agent.documents import write_value
    from agent.plan.solver import plan
    from models.fleet import Fleet, Node, Priority, Vm, VmState
    from models.policy.policy import Policy
    from models.risk.risk import Risk
    from models.situation import Situation

    fleet = Fleet(
        observed_at=NOW,
        nodes=tuple(
            Node(name=name, memory_bytes=64 * GIB, memory_reserved_bytes=GIB, cpus=16, cpu_overcommit=4.0, failure_domain=name)
            for name in ("a", "b", "c")
        ),
        vms=tuple(
            Vm(
                uuid=f"7c1f0f5e-5f2c-4d51-9e0e-2d4a6b0f000{number}", name=f"vm-{number}", node="a", memory_bytes=4 * GIB, vcpus=2,
                state=VmState.RUNNING, priority=priority, cold_archive_allowed=True, disk_bytes=10**10,
                dirty_bytes_per_second=1e6,
            )
            for number, priority in enumerate((Priority.HIGH, Priority.NORMAL, Priority.LOW))
        ),
    )  # fmt: skip
    risks = [
        Risk(node=name, probability={"30m": p / 2, "2h": p, "24h": p}, data_age_seconds=5)
        for name, p in (("a", 0.8), ("b", 0.01), ("c", 0.01))
    ]
    write_value(world / "fleet.json", fleet)
    write_value(world / "plan.json", plan(Situation(fleet=fleet, risks=risks, policy=Policy(), now=NOW)))
    (world / "risks.json").write_text(json.dumps([risk.model_dump(mode="json") for risk in risks], indent=1))
    (world / "policy.yaml").write_text((Path(__file__).parents[1] / "deploy/policy.yaml").read_text())


_DEFINITION = """<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name><uuid>7c1f0f5e-5f2c-4d51-9e0e-2d4a6b0f0001</uuid>
  <metadata><lifeboat:vm xmlns:lifeboat="https://lifeboat.dev/xmlns/vm/1.0" priority="low" workload="batch" cold-archive="allowed"
    probe="http://127.0.0.1:1/" max-downtime="300ms"/></metadata>
  <memory unit='GiB'>4</memory><currentMemory unit='KiB'>4194304</currentMemory><vcpu placement='static' cpuset='0-3'>2</vcpu>
  <memoryBacking><hugepages><page size='2048' unit='KiB' nodeset='0'/></hugepages><source type='memfd'/></memoryBacking>
  <numatune><memory mode='strict' nodeset='0-1'/></numatune>
  <os><type arch='x86_64' machine='pc-q35-9.0'>hvm</type><kernel>/boot/vmlinuz</kernel>
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>
    <nvram type='file'><source file='/var/lib/libvirt/qemu/nvram/web.fd'/></nvram></os>
  <on_poweroff>destroy</on_poweroff>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/images/web.qcow2' index='2'>
      <dataStore type='file'><format type='raw'/><source file='/images/web.raw'/></dataStore></source>
      <backingStore type='file' index='3'><format type='qcow2'/><source file='/images/base.qcow2'/><backingStore/></backingStore>
      <target dev='vda' bus='virtio'/></disk>
    <disk type='network' device='disk'><source protocol='nbd' name='x'><host name='127.0.0.1' port='10809'/></source>
      <target dev='vdb' bus='virtio'/><shareable/></disk>
    <disk type='nvme' device='disk'><source type='pci' managed='yes' namespace='1'>
      <address domain='0x0000' bus='0x03' slot='0x00' function='0x0'/></source><target dev='vdc' bus='virtio'/></disk>
    <filesystem type='mount'><source dir='/srv/data'/><target dir='data'/></filesystem>
    <hostdev mode='subsystem' type='pci' managed='yes'><source>
      <address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/></source></hostdev>
    <interface type='bridge'><source bridge='br0'/><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>
    <serial type='dev'><source path='/dev/ttyS0'/></serial><tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
    <shmem name='s'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>
  </devices>
  <qemu:commandline><qemu:arg value='-drive'/><qemu:arg value='file=/images/hidden.raw,if=virtio'/></qemu:commandline>
</domain>
"""


def _definition(world: Path) -> None:
    (world / "vm.xml").write_text(_DEFINITION)


_SETTINGS = """prometheus: {url: "http://127.0.0.1:1", node_label: instance, scrape_interval_seconds: 15, headers: {x: y}}
nodes:
  - name: node-a
    libvirt_uri: "qemu+tls://127.0.0.1:1/system"
    failure_domain: rack-1
    memory_reserved_bytes: 1073741824
    bmc: {address: 127.0.0.1, port: 623, user: u}
  - {name: node-b, libvirt_uri: "qemu+tls://127.0.0.1:2/system", cpu_overcommit: 4.0, hardware_logs: [logs]}
archive_url: file://archives
archive_options: {auto_mkdir: true}
shared_paths: [/srv/nfs]
shared_pools: [pool]
state_dir: state
policy_file: policy.yaml
interval: 30s
forecast: {model: own.lifeboat, components: {storage: disks.lifeboat}}
llm: {base_url: "http://127.0.0.1:1", model: m, timeout_seconds: 60}
"""


def _settings(world: Path) -> None:
    _definition(world)
    (world / "policy.yaml").write_text("trigger: {probability: 0.5}\n")
    (world / "lifeboat.yaml").write_text(_SETTINGS)


def _evidence(world: Path) -> None:
    folder = world / "evidence"
    (folder / "nodes/node-a/logs").mkdir(parents=True, exist_ok=True)
    error = "EDAC MC0: 1 UE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x12f03a)"
    (folder / "nodes/node-a/sel.csv").write_text(
        "1,11/20/26,11:50:00 UTC,Power Supply PS1 Status,Power Supply AC lost,Asserted\n"
        "2,11/20/26,11:52:00 UTC,Temperature Inlet,Upper Critical going high,Asserted,Reading 45 > Threshold 42 degrees C\n"
        "3,Pre-Init,0000000012,Memory #0x53,Correctable ECC logging limit reached,Asserted\n"
    )
    (folder / "nodes/node-a/logs/syslog").write_text(
        f"2026-11-20T11:50:00Z node-a kernel: {error}\n"
        "Nov 20 11:51:00 node-a smartd[812]: Device: /dev/sda [SAT], 8 Currently unreadable (pending) sectors\n"
        "<4>1 2026-11-20T11:51:30Z node-a kernel - - - nvme nvme0: I/O 12 QID 3 timeout, aborting\n"
        "[Fri Nov 20 11:51:40 2026] mce: [Hardware Error]: Machine check events logged\n"
        '{"__REALTIME_TIMESTAMP":"1795175500000000","_HOSTNAME":"node-a","SYSLOG_IDENTIFIER":"kernel",'
        '"MESSAGE":"md/raid1:md0: Disk failure on sdb"}\n'
    )
    (folder / "nodes/node-a/journal.export").write_text(
        f"__REALTIME_TIMESTAMP=1795175400000000\n_HOSTNAME=node-a\n_TRANSPORT=kernel\nSYSLOG_IDENTIFIER=kernel\nMESSAGE={error}\n\n"
    )
    (folder / "evidence.json").write_text(
        '{"at": "2026-11-20T12:00:00Z", "node_label": "instance", "time_zone": "UTC"}'
    )
    _plan_files(world)
    (folder / "fleet.json").write_bytes((world / "fleet.json").read_bytes().replace(b'"a"', b'"node-a"'))


def _signals(world: Path) -> None:
    shipped = (Path(__file__).parents[1] / "tools/signals/node.yaml").read_text()
    (world / "signals.yaml").write_text("without: [libvirt_up]\n" + shipped[shipped.index("signals:") :])
    (world / "lifeboat.yaml").write_text(_UNANSWERED + "signals_file: signals.yaml\n")


def _metrics(world: Path) -> None:
    _evidence(world)
    begin = int(datetime(2026, 11, 20, 11, 0, tzinfo=UTC).timestamp())
    lines = ["# TYPE node_hwmon_temp_celsius gauge"]
    lines += [
        f'node_hwmon_temp_celsius{{instance="node-a:9100",chip="pci0",sensor="temp1"}} {50 + k % 3} {begin + 15 * k}'
        for k in range(40)
    ]
    (world / "evidence/metrics.om").write_text("\n".join([*lines, "# EOF", ""]))


def _journal(world: Path) -> None:
    from models.evacuation import Attempt, AttemptOutcome
    from models.fleet import VmState
    from models.plan import Action, ActionKind
    from tools.journal.sqlite import SqliteJournal
    from tools.ports.records.attempts import AttemptEnded, AttemptIntended
    from tools.ports.records.nodes import CertificatePinned
    from tools.ports.vms import VmObservation

    (world / "lifeboat.yaml").write_text(STATE)
    path = world / "state/journal.sqlite"
    if path.exists():
        return
    journal = SqliteJournal(path)
    action = Action(kind=ActionKind.LIVE_MIGRATE, vm="uuid-web", source="a", target="b", reason="r")
    seen = VmObservation(uuid="uuid-web", name="web", node="a", state=VmState.RUNNING, persistent=True, disks=())
    journal.append(AttemptIntended(action=action, initial=seen), evacuation="evac-1", attempt="evac-1-001", now=NOW)
    attempt = Attempt(
        id="evac-1-001", action=action, outcome=AttemptOutcome.INDETERMINATE,
        started_at=NOW, ended_at=NOW + timedelta(seconds=9), message="m",
    )  # fmt: skip
    journal.append(AttemptEnded(attempt=attempt), evacuation="evac-1", attempt="evac-1-001", now=NOW)
    journal.append(CertificatePinned(node="a", sha256="0" * 64, before=None, by="doctor"), now=NOW)
    journal.close()


def _mutate_journal(content: bytes, chance: random.Random, mutated: Mutated) -> bytes:
    """One record's own bytes mostly, as another version or a hand would have written it; else the file's."""
    if chance.random() < 0.3:
        return mutated(content, chance)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "journal.sqlite"
        path.write_bytes(content)
        db = sqlite3.connect(path, isolation_level=None)
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f'DROP TRIGGER "{trigger}"')
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(records)") if name != "seq"]
        column = chance.choice([*columns, "data"] if "data" in columns else columns)
        place, value = chance.choice(db.execute(f"SELECT seq, {column} FROM records").fetchall())
        broken = mutated(value if isinstance(value, bytes) else str(value or "").encode(), chance)
        db.execute(
            f"UPDATE OR IGNORE records SET {column} = ? WHERE seq = ?", (broken.decode("utf-8", "replace"), place)
        )
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        return path.read_bytes()


def _pins(world: Path) -> None:
    _journal(world)
    pins = {"version": 1, "pins": {"a": {"sha256": "0" * 64, "pinned_at": "2026-11-20T12:00:00Z", "by": "doctor"}}}
    (world / "state/pins.json").write_text(json.dumps(pins))


def _silent(*_: object) -> None:
    pass


def _archive(world: Path) -> None:
    from models.fleet import VmState
    from tools.archive.store import FsspecArchiveStore
    from tools.ports.archives import ImageFile
    from tools.ports.vms import ImageRole, VmObservation

    (world / "lifeboat.yaml").write_text(STATE + f"archive_url: file://{world}/archives\n")
    store = FsspecArchiveStore(f"file://{world}/archives", key_file=world / "state/archive-signing.key")
    vm = VmObservation(uuid="uuid-web", name="web", node="a", state=VmState.SHUTOFF, persistent=True, disks=())
    image = ImageFile(
        role=ImageRole.DISK, device="vda", path="/images/w.raw", format="raw", virtual_bytes=9000, image_bytes=9000
    )
    for name in ("one", "two"):  # `two` stays whole: a bad archive hides none
        store.write(
            archive_id=name,
            vm=vm,
            domain_xml=_DEFINITION,
            images=[(image, lambda: iter((b"a" * 5000, b"b" * 4000)))],
            on_progress=_silent,
        )


def _signed_anew(world: Path, _: Path, content: bytes) -> dict[Path, bytes]:
    """As by whoever has the key: what the manifest says is read then."""
    from tools.archive.signing import Signer

    return {world / "archives/one/manifest.sig": Signer(world / "state/archive-signing.key").sign(content)}


_OTHER_VALUES: tuple[object, ...] = (
    None, True, -1, 0, 1 << 70, 1e308, float("nan"), "", "..", "a" * 5000, "\x1b[2J\u202e", "2999-01-01T00:00:00Z", [], {}, [[]],
)  # fmt: skip


def _mutate_json(content: bytes, chance: random.Random, mutated: Mutated) -> bytes:
    """Mostly one value of the document, whatever is around it staying sound; else the file's bytes."""
    if chance.random() < 0.3:
        return mutated(content, chance)
    document = json.loads(content)
    places = [(document, key) for key in document]
    for inside, key in places:  # grows while it is walked
        value = inside[key]
        if isinstance(value, dict):
            places += [(value, each) for each in value]
        elif isinstance(value, list):
            places += [(value, each) for each in range(min(len(value), 50))]
    for _ in range(chance.choice((1, 1, 2))):
        inside, key = chance.choice(places)
        value = inside[key]
        inside[key] = chance.choice(
            (*_OTHER_VALUES, [value], [value] * 300, str(value), -value if isinstance(value, int) else value)
        )
    return json.dumps(document).encode()


_PLAN = ("plan", "--fleet", "fleet.json", "--risks", "risks.json", "--json")
_STATUS = ("status", "-c", "lifeboat.yaml", "--json")
_AUDIT = ("audit", "verify", "-c", "lifeboat.yaml", "--json")
_JOURNAL = ("state/journal.sqlite",)
_VERIFY = ("archive", "verify", "one", "-c", "lifeboat.yaml", "--json")
_LIST = ("archive", "list", "-c", "lifeboat.yaml", "--json")
_EVIDENCE = ("assess", "--evidence", "evidence", "--json")
_ASSESS = ("assess", "-c", "lifeboat.yaml", "--json")
_REFUSED_OR_DONE = frozenset({0, 3})

KINDS: tuple[Kind, ...] = (
    Kind("fleet", _PLAN, ("fleet.json",), _plan_files),
    Kind("risks", _PLAN, ("risks.json",), _plan_files),
    Kind("plan", ("guard", "plan.json", *_PLAN[1:]), ("plan.json",), _plan_files),
    Kind("policy", (*_PLAN, "--policy", "policy.yaml"), ("policy.yaml",), _plan_files, sound=_REFUSED_OR_DONE),
    Kind("settings", ("vm", "check", "vm.xml", "-c", "lifeboat.yaml", "--json"), ("lifeboat.yaml",), _settings),
    Kind("signals", _ASSESS, ("signals.yaml",), _signals, sound=frozenset({1})),
    Kind("definition", ("vm", "check", "vm.xml", "--json"), ("vm.xml",), _definition),
    Kind(
        "evidence", _EVIDENCE,
        tuple(f"evidence/{name}" for name in (
            "nodes/node-a/sel.csv", "nodes/node-a/logs/syslog", "nodes/node-a/journal.export", "evidence.json", "fleet.json")),
        _evidence,
    ),
    Kind("metrics", _EVIDENCE, ("evidence/metrics.om",), _metrics, share=0.02),
    Kind("journal status", _STATUS, _JOURNAL, _journal, mutate=_mutate_journal),
    Kind("journal audit", _AUDIT, _JOURNAL, _journal, mutate=_mutate_journal),
    Kind("pins", ("doctor", "-c", "lifeboat.yaml", "--json"), ("state/pins.json",), _pins, sound=frozenset({0, 1})),
    Kind("archive verify", _VERIFY, ("archives/one/*",), _archive),
    Kind("archive list", _LIST, ("archives/one/manifest.json", "archives/one/manifest.sig"), _archive),
    Kind(
        "manifest signed", _VERIFY, ("archives/one/manifest.json",), _archive,
        mutate=_mutate_json, follows=_signed_anew,
    ),
    Kind(
        "manifest listed", _LIST, ("archives/one/manifest.json",), _archive, mutate=_mutate_json, follows=_signed_anew,
    ),
    Kind(
        "dataset",
        ("score", "dataset", "--model", "own.lifeboat", "--from", "2026-09-20T00:00:00Z", "--until", "2026-09-25T00:00:00Z",
         "--json"),
        ("dataset/*.parquet",), dataset, mutate=mutate_parquet,
    ),
    Kind(
        "incidents", ("history", "-c", "lifeboat.yaml", "--incidents", "incidents.csv", "-o", "dataset", "--json"),
        ("incidents.csv",), incidents_file,
    ),
    Kind("model", _ASSESS, ("own.lifeboat",), model_file, sound=frozenset({1}), mutate=mutate_model),
)  # fmt: skip
