"""A gathered folder names nobody and is judged like the sources it came from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.assess.evidence import judge_evidence
from agent.doctor.evidence import gather_evidence
from agent.settings import Settings
from models.errors import BadInput, NodeUnreachable
from models.fleet import Node, Vm
from models.policy.policy import Policy
from tools.ports.vms import VmObservation
from tools.simulated.fleet import SimulatedFleet

NOW = datetime.now(UTC).replace(microsecond=0)
SECRETS = ("prod-kvm-07", "prod-kvm-08", "customer-db", "corp.example", "10.1.2.3")


class Silent:
    def node(self) -> Node:
        raise NodeUnreachable("prod-kvm-08.corp.example at 10.1.2.3 does not answer")

    def vms(self) -> list[Vm]:
        return []

    def observe(self, uuid: str) -> VmObservation | None:
        raise NodeUnreachable(uuid)


@pytest.fixture
def gathered(tmp_path: Path) -> Path:
    stamp = (NOW - timedelta(minutes=10)).isoformat()
    log = tmp_path / "kern.log"
    log.write_text(
        f"{stamp} prod-kvm-07 kernel: EDAC MC0: 1 UE memory read error on CPU_SrcID#0 (channel:1 slot:0)\n"
        f"{stamp} prod-kvm-07 sshd[1]: accepted key for customer-db from 10.1.2.3\n"
        f"{stamp} prod-kvm-07 kernel: nfs: server 10.1.2.3 not responding, I/O timed out\n"
    )
    simulated = SimulatedFleet()
    node = simulated.add_node("prod-kvm-07.corp.example")
    simulated.add_vm("prod-kvm-07.corp.example", "customer-db")
    settings = Settings.model_validate(
        {
            "nodes": [
                {"name": name, "libvirt_uri": f"qemu+tls://{name}/system", "hardware_logs": logs}
                for name, logs in (("prod-kvm-07.corp.example", [str(log)]), ("prod-kvm-08.corp.example", []))
            ]
        }
    )
    out = tmp_path / "out"
    told = gather_evidence(
        out, settings, {"prod-kvm-07.corp.example": node, "prod-kvm-08.corp.example": Silent()}, at=NOW
    )
    assert (told.lines, len(told.missing)) == (2, 1)
    assert not any(secret in told.missing[0] for secret in SECRETS)
    return out


def test_it_names_nobody_and_holds_nothing_of_other_programs(gathered: Path) -> None:
    files = [path for path in gathered.rglob("*") if path.is_file()]
    everything = " ".join(f"{path} {path.read_text()}" for path in files).replace(str(gathered), "")
    assert not any(secret in everything for secret in SECRETS)
    assert "sshd" not in everything


def test_it_is_judged_as_the_source_was(gathered: Path) -> None:
    first, second = judge_evidence(gathered, Policy())["nodes"]
    assert (first["node"], first["tier"]) == ("node-1", "evacuate")
    assert [(event["kind"], event["part"]) for event in first["events"]] == [("memory-uncorrected", "MC0")]
    assert (second["node"], second["tier"]) == ("node-2", "cordon"), "of which nothing is known"


def test_a_folder_that_holds_something_is_not_written_over(gathered: Path) -> None:
    with pytest.raises(BadInput, match="not empty"):
        gather_evidence(gathered, Settings.model_validate({}), {}, at=NOW)
