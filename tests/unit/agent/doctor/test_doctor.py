"""`lifeboat doctor`: what it finds on a fleet in which one thing at a time is broken."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.doctor.checks import FLEET_CHECKS, NODE_CHECKS
from agent.doctor.examine import CheckContext, Finding, Health, run_checks
from agent.doctor.host import check_journal
from agent.settings import ForecastSettings, NodeSettings, Settings
from agent.state.certificate_pins import Pins, PinState
from models.policy.policy import MigrationPolicy, PinRule, Policy
from tools.archive.store import FsspecArchiveStore
from tools.journal.sqlite import SqliteJournal
from tools.ports.records.brake import BreakerTripped
from tools.simulated.fleet import SimulatedFleet

SIGNATURES = ("archives", "signatures")


class Ward:
    """Two simulated nodes, a store and a journal."""

    def __init__(self, directory: Path, journal: SqliteJournal) -> None:
        self.fleet = SimulatedFleet()
        for name in ("node-a", "node-b"):
            self.fleet.add_node(name)
        self.fleet.add_vm("node-a", "web")
        self.pins = Pins(directory / "pins.json", journal, self.fleet.clock)
        self.archives = f"file://{directory}/archives"
        self.journal = journal
        self.rule = PinRule.FIRST_USE
        self.forecast = ForecastSettings()
        self.directory = directory

    def findings(self) -> list[Finding]:
        settings = Settings(
            nodes=tuple(
                NodeSettings(name=name, libvirt_uri=f"qemu+tls://{name}/system") for name in self.fleet.machines
            ),
            archive_url=self.archives,
            forecast=self.forecast,
            state_dir=self.directory,
        )
        policy = Policy(migration=MigrationPolicy(pins=self.rule))
        context = CheckContext(
            settings=settings,
            policy=policy,
            nodes=self.fleet.hypervisors(),
            journal=self.journal,
            pins=self.pins,
            clock=self.fleet.clock,
        )
        return run_checks(context, FLEET_CHECKS, NODE_CHECKS)

    def failing(self) -> list[tuple[str, str]]:
        return [(each.check, each.subject) for each in self.findings() if each.health is Health.FAIL]


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    yield Ward(tmp_path, journal)
    journal.close()


def test_a_learned_model_that_cant_be_used_fails_and_an_empty_history_is_named(ward: Ward, tmp_path: Path) -> None:
    assert not [each for each in ward.findings() if each.check == "forecast"]
    ward.forecast = ForecastSettings(model=tmp_path / "own.lifeboat")
    model, history = (each for each in ward.findings() if each.check == "forecast")
    assert (model.subject, model.health) == ("learned forecast", Health.FAIL)
    assert "own.lifeboat cannot be read" in model.what
    assert "documented limits carry on" in model.what
    assert (history.subject, history.health) == ("history", Health.WARN)
    assert history.fix == "start `lifeboat run`"


def pin_all(ward: Ward) -> None:
    for name, node in ward.fleet.hypervisors().items():
        ward.pins.pin(name, node.tls_fingerprint(), by="doctor")


def test_a_sound_fleet_fails_nothing_and_leaves_nothing_behind(ward: Ward, tmp_path: Path):
    pin_all(ward)
    assert ward.failing() == []
    assert list((tmp_path / "archives").iterdir()) == []
    found = {(each.check, each.subject): each.health for each in ward.findings()}
    assert found["pin", "node-b"] is Health.OK
    assert found["cpu", "node-a, node-b"] is Health.OK
    assert found["clock", "node-a"] is Health.UNKNOWN, "nobody tells: that is not ok"


def swapped(ward: Ward) -> None:
    pin_all(ward)
    ward.fleet.machines["node-b"].certificate = "another"


def required(ward: Ward) -> None:
    ward.rule = PinRule.REQUIRED


def store_in_a_file(ward: Ward) -> None:
    (ward.journal.path.parent / "plain").write_text("")
    ward.archives = f"file://{ward.journal.path.parent}/plain/archives"


def test_archives_that_another_lifeboats_key_signed_are_told_with_what_to_copy(ward: Ward, tmp_path: Path) -> None:
    def said() -> list[tuple[Health, str]]:
        return [(each.health, each.fix) for each in ward.findings() if (each.check, each.subject) == SIGNATURES]

    assert said() == []
    theirs = tmp_path / "elsewhere" / "archive-signing.key"
    theirs.parent.mkdir()
    node = ward.fleet.node("node-a")
    (vm,) = node.vms()
    FsspecArchiveStore(ward.archives, key_file=theirs, clock=ward.fleet.clock).write(
        archive_id="theirs",
        vm=node.observe(vm.uuid),
        domain_xml=node.domain_xml(vm.uuid),
        images=[],
        on_progress=lambda done, total: None,
    )
    ((health, fix),) = said()
    assert health is Health.WARN
    assert "archive-signing.key" in fix
    (tmp_path / "trusted-archive-keys").mkdir()
    shutil.copy(theirs.with_suffix(".pub"), tmp_path / "trusted-archive-keys")
    assert said() == [(Health.OK, "")]


@pytest.mark.parametrize(
    ("spoil", "fails"),
    [
        (lambda w: setattr(w.fleet.machines["node-b"], "tls", False), {("certificate", "node-b")}),
        (lambda w: setattr(w.fleet.machines["node-b"], "port_open", False), {("port", "node-b")}),
        (swapped, {("pin", "node-b")}),
        (required, {("pin", "node-a"), ("pin", "node-b")}),
        (store_in_a_file, {("archives", "lifeboat")}),
    ],
    ids=["expired", "port", "swapped", "required", "store"],
)
def test_what_is_broken_fails_alone_and_is_told_how_to_mend(
    ward: Ward, spoil: Callable[[Ward], None], fails: set[tuple[str, str]]
):
    spoil(ward)
    assert set(ward.failing()) == fails
    assert all(each.fix for each in ward.findings() if each.health is not Health.OK)


def test_a_silent_node_fails_its_own_checks_only(ward: Ward):
    ward.fleet.cut_off("node-b")
    failing = ward.failing()
    assert {subject for _, subject in failing} == {"node-b"}
    assert {check for check, _ in failing} == {"libvirt", "certificate"}


def test_cpus_that_differ_are_told_by_pair_with_what_fits_all(ward: Ward):
    ward.fleet.add_node("node-c", cpu_model="Skylake-Server")
    rows = {(each.subject, each.health): each for each in ward.findings() if each.check == "cpu"}
    assert set(rows) == {("node-a", Health.WARN), ("node-b", Health.WARN), ("node-c", Health.WARN)}
    assert "can't move to node-c, which lacks EPYC" in rows["node-a", Health.WARN].what
    assert "qemu64, which fits all 3 nodes" in rows["node-a", Health.WARN].fix


def test_a_pin_file_that_was_changed_behind_the_audit_log_fails_until_the_node_is_pinned_again(
    ward: Ward, tmp_path: Path
):
    pin_all(ward)
    shown = ward.fleet.hypervisors()["node-b"].tls_fingerprint()
    file = tmp_path / "pins.json"
    file.write_text(file.read_text().replace(shown, "0" * 64))
    assert ("journal", "node-b") in ward.failing()
    assert ("journal", "node-a") not in ward.failing()
    assert ward.pins.pin("node-b", shown, by="doctor", replace=True) is PinState.REPLACED
    assert ward.failing() == []
    file.unlink()
    assert {("journal", "node-a"), ("journal", "node-b")} <= set(ward.failing()), "nor may a pin vanish"


def test_a_pin_that_only_the_file_has_is_mended_by_pinning_anew(ward: Ward, tmp_path: Path):
    pin_all(ward)
    shown = ward.fleet.hypervisors()["node-b"].tls_fingerprint()
    with closing(SqliteJournal(tmp_path / "other.sqlite")) as journal:
        pins = Pins(tmp_path / "pins.json", journal, ward.fleet.clock)
        assert pins.recorded() == {}
        assert pins.pin("node-b", shown, by="doctor") is PinState.SAME
        assert pins.pin("node-b", shown, by="doctor", replace=True) is PinState.REPLACED
        assert pins.recorded() == {"node-b": shown}


def test_a_check_that_hangs_or_breaks_stops_no_other_and_a_node_that_hangs_fails(ward: Ward):
    let_go = threading.Event()

    def hangs(context: CheckContext) -> list[Finding]:
        let_go.wait()
        return []

    def node_hangs(context: CheckContext, node: NodeSettings) -> list[Finding]:
        return hangs(context)

    def breaks(context: CheckContext) -> list[Finding]:
        raise ZeroDivisionError

    settings = Settings(nodes=(NodeSettings(name="node-a", libvirt_uri="qemu:///system"),))
    context = CheckContext(
        settings=settings, policy=Policy(), nodes={}, journal=ward.journal, pins=ward.pins, clock=ward.fleet.clock
    )
    found = run_checks(context, [breaks, hangs, check_journal], [node_hangs], patience_seconds=0.5)
    let_go.set()
    assert [(each.check, each.health.value) for each in found] == [
        ("breaks", "unknown"),
        ("hangs", "unknown"),
        ("journal", "ok"),
        ("node hangs", "fail"),
    ]


def test_a_check_that_lacks_an_extra_names_it_and_stops_no_other(ward: Ward) -> None:
    def lacks(context: CheckContext) -> list[Finding]:
        raise ModuleNotFoundError("No module named 'slack_sdk'", name="slack_sdk.errors")

    context = CheckContext(
        settings=Settings(), policy=Policy(), nodes={}, journal=ward.journal, pins=ward.pins, clock=ward.fleet.clock
    )
    lacking, journal = run_checks(context, [lacks, check_journal], [])
    assert (lacking.health, journal.health) == (Health.FAIL, Health.OK)
    assert "lifeboat[slack]" in lacking.fix


def test_a_tripped_breaker_is_a_fault_with_what_to_do(ward: Ward) -> None:
    ward.journal.append(BreakerTripped(rule="storm", why="3 of 4 nodes"), now=ward.fleet.clock.now())
    context = CheckContext(
        settings=Settings(nodes=()),
        policy=Policy(),
        nodes={},
        journal=ward.journal,
        pins=ward.pins,
        clock=ward.fleet.clock,
    )
    (found,) = [each for each in check_journal(context) if each.subject == "breaker"]
    assert found.health.value == "fail"
    assert "by storm: 3 of 4 nodes" in found.what
    assert "lifeboat breaker reset" in found.fix
