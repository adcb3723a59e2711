"""`lifeboat archive …` as an operator runs it, on a store in a directory; no node is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from scenes.command_line import work_in
from typer.testing import CliRunner, Result

from agent.cli.archive import archive
from models.errors import ArchiveFailed, LifeboatError
from models.evacuation import Attempt, AttemptOutcome
from models.fleet import VmState
from models.plan import Action, ActionKind
from tools.archive.store import FsspecArchiveStore
from tools.journal.sqlite import SqliteJournal
from tools.ports.archives import ImageFile
from tools.ports.records.attempts import AttemptEnded, AttemptIntended
from tools.ports.vms import ImageRole, VmObservation

VM = VmObservation(
    uuid="7c1f0f5e-5f2c-4d51-9e0e-2d4a6b0f0001",
    name="batch",
    node="node-a",
    state=VmState.SHUTOFF,
    persistent=True,
    disks=(),
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FsspecArchiveStore:
    """One archive, and what an interrupted copy left."""
    work_in(
        tmp_path,
        monkeypatch,
        settings="nodes: [{name: node-a, libvirt_uri: 'qemu+tls://127.0.0.1:1/system'}]\n"
        f"archive_url: file://{tmp_path}/archives\nstate_dir: {tmp_path}/state\n",
        columns=200,
    )
    store = FsspecArchiveStore(
        f"file://{tmp_path}/archives", key_file=tmp_path / "state/archive-signing.key", segment_chunks=1
    )
    write(store, "finished", breaks=False)
    with pytest.raises(ArchiveFailed):
        write(store, "begun", breaks=True)
    return store


def write(store: FsspecArchiveStore, archive_id: str, *, breaks: bool) -> None:
    def read() -> Iterator[bytes]:
        yield from (b"a" * 1000, b"b" * 1000)
        if breaks:
            raise ArchiveFailed("the node died")

    image = ImageFile(
        role=ImageRole.DISK, device="vda", path="/images/batch.raw", format="raw", virtual_bytes=2000, image_bytes=2000
    )
    store.write(
        archive_id=archive_id, vm=VM, domain_xml="<domain/>", images=[(image, read)], on_progress=lambda *_: None
    )


def lifeboat(*arguments: str) -> tuple[int, Result]:
    result = CliRunner().invoke(archive, arguments)
    if isinstance(result.exception, LifeboatError):
        return result.exception.exit_code, result
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result


def test_the_list_tells_archives_from_what_is_none(store: FsspecArchiveStore):
    code, result = lifeboat("list", "--json")
    assert code == 0
    assert {(each["id"], each["vm_name"], each["finished"]) for each in json.loads(result.stdout)} == {
        ("finished", "batch", True),
        ("begun", "batch", False),
    }
    code, result = lifeboat("list")
    assert code == 0
    assert "unfinished: begun of vm batch" in result.stdout


def test_only_what_is_no_archive_is_discarded(store: FsspecArchiveStore):
    assert lifeboat("discard", "finished")[0] == 1
    code, result = lifeboat("discard", "begun", "--json")
    assert (code, json.loads(result.stdout)) == (0, {"id": "begun", "discarded": True})
    assert lifeboat("discard", "begun")[0] == 1
    assert store.verify("finished")
    assert store.leftovers() == []


def test_what_is_being_written_is_not_discarded(store: FsspecArchiveStore, tmp_path: Path):
    journal = SqliteJournal(tmp_path / "state/journal.sqlite")
    now = datetime(2026, 11, 23, tzinfo=UTC)
    action = Action(kind=ActionKind.COLD_ARCHIVE, vm=VM.uuid, vm_name="batch", source="node-a")
    journal.append(AttemptIntended(action=action, initial=VM), now=now, attempt="begun")
    code, result = lifeboat("discard", "begun")
    assert code == 3
    assert "is being written" in str(result.exception)
    ended = Attempt(id="begun", action=action, started_at=now, ended_at=now, outcome=AttemptOutcome.FAILED)
    journal.append(AttemptEnded(attempt=ended), now=now, attempt="begun")
    assert lifeboat("discard", "begun")[0] == 0
    journal.close()


def test_nothing_is_wiped_without_a_yes(store: FsspecArchiveStore):
    code, result = lifeboat("wipe", "finished")
    assert code == 3
    assert "nothing was wiped" in str(result.exception)


def test_nothing_is_wiped_on_a_node_that_does_not_answer(store: FsspecArchiveStore, tmp_path: Path):
    code, result = lifeboat("wipe", "finished", "--yes")
    assert code == 3
    assert "does not answer" in str(result.exception)
    assert not list((tmp_path / "archives/finished").glob("wipe-*"))


def test_one_broken_archive_hides_no_other(store: FsspecArchiveStore, tmp_path: Path):
    broken = tmp_path / "archives/broken"
    broken.mkdir()
    for file in ("manifest.json", "manifest.sig"):
        (broken / file).write_bytes((tmp_path / "archives/finished" / file).read_bytes().replace(b"batch", b"botch"))
    code, result = lifeboat("list", "--json")
    assert code == 1
    rows = {each["id"]: each for each in json.loads(result.stdout)}
    assert rows["finished"]["vm_name"] == "batch"
    assert "broken" in rows["broken"]["unreadable"]
    code, result = lifeboat("list")
    assert code == 1
    assert "can't be read: broken" in result.stdout
    assert "finished" in result.stdout
