"""What every ArchiveStore does: a directory, an object store (fsspec's in-memory one), each plain and encrypted."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import fsspec
import pytest

from models.errors import ArchiveFailed, BadInput
from models.fleet import VmState
from tools.archive_store import FsspecArchiveStore
from tools.ports import ArchiveEntry, DiskObservation, VmObservation

MIB = 1 << 20
XML = "<domain type='kvm'><name>batch</name><uuid>7c1f0f5e-5f2c-4d51-9e0e-2d4a6b0f0001</uuid></domain>"
IMAGES = {
    "vda": Random(1).randbytes(700_123) + bytes(2 * MIB),
    "vdb": b"",
    "vdc": b"one chunk",
}


@dataclass
class Place:
    """A store that can be opened again, as another lifeboat would, and looked into behind its back."""

    url: str
    options: dict[str, Any]
    keys: Path

    def open(self, keys: str = "ours") -> FsspecArchiveStore:
        return FsspecArchiveStore(self.url, key_file=self.keys / keys / "signing.key", **self.options)

    @property
    def fs(self) -> Any:
        return fsspec.core.url_to_fs(self.url)[0]

    def path(self, *parts: str) -> str:
        return "/".join((fsspec.core.url_to_fs(self.url)[1], *parts))

    def files(self) -> list[str]:
        return sorted(self.fs.find(self.path())) if self.fs.exists(self.path()) else []


@pytest.fixture(params=["directory", "objects", "directory encrypted", "objects encrypted"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    options: dict[str, Any] = {}
    if "encrypted" in request.param:
        key = tmp_path / "seal.key"
        key.write_text(f"{os.urandom(32).hex()}\n")
        key.chmod(0o600)
        options["encryption_key_file"] = key
    if "objects" in request.param:
        url = f"memory://archives-{uuid.uuid4().hex}"
        yield Place(url, options, tmp_path)
        fs, root = fsspec.core.url_to_fs(url)
        if fs.exists(root):
            fs.rm(root, recursive=True)
    else:
        yield Place(f"file://{tmp_path}/srv/archives", options, tmp_path)


def vm() -> VmObservation:
    disks = tuple(
        DiskObservation(device, f"/images/{device}.qcow2", "qcow2", 1 << 30, len(image), False, len(image))
        for device, image in IMAGES.items()
    )
    return VmObservation("7c1f0f5e-5f2c-4d51-9e0e-2d4a6b0f0001", "batch", "node-a", VmState.SHUTOFF, True, disks)


def pieces(image: bytes, size: int = 1 << 18) -> Callable[[], Iterator[bytes]]:
    return lambda: (image[start : start + size] for start in range(0, len(image), size))


def write(store: FsspecArchiveStore, archive_id: str = "attempt-1", **changed: Any) -> ArchiveEntry:
    observation = vm()
    arguments: dict[str, Any] = {
        "archive_id": archive_id,
        "vm": observation,
        "domain_xml": XML,
        "disks": [(disk, pieces(IMAGES[disk.device])) for disk in observation.disks],
        "on_progress": lambda done, total: None,
    }
    return store.write(**(arguments | changed))


def test_what_goes_in_comes_out(place: Place):
    told: list[tuple[int, int]] = []
    entry = write(place.open(), on_progress=lambda done, total: told.append((done, total)))
    total = sum(map(len, IMAGES.values()))
    assert (entry.id, entry.vm_name, entry.source, entry.original_bytes) == ("attempt-1", "batch", "node-a", total)
    assert 0 < entry.stored_bytes < total
    assert told[-1] == (2 * total, 2 * total), "copied once, read back once"

    again = place.open()
    assert again.entries() == [entry]
    assert again.verify("attempt-1") == entry
    assert again.domain_xml("attempt-1") == XML
    found = {disk.device: (disk, size, b"".join(read())) for disk, size, read in again.disks("attempt-1")}
    assert {device: image for device, (_, _, image) in found.items()} == IMAGES
    assert all(size == len(IMAGES[device]) for device, (_, size, _) in found.items())
    assert {disk.virtual_bytes for disk, _, _ in found.values()} == {1 << 30}


def test_every_flipped_byte_and_every_missing_file_is_noticed(place: Place):
    store = place.open()
    write(store)
    for path in place.files():
        content = place.fs.cat_file(path)
        spots = sorted({0, len(content) // 3, len(content) // 2, len(content) - 1}) if content else []
        for spot in spots:
            damaged = bytearray(content)
            damaged[spot] ^= 0x20
            place.fs.pipe_file(path, bytes(damaged))
            with pytest.raises(ArchiveFailed, match="attempt-1"):
                store.verify("attempt-1")
        for damaged in (content[:-1], content + b"\0"):
            if damaged != content:
                place.fs.pipe_file(path, damaged)
                with pytest.raises(ArchiveFailed, match="attempt-1"):
                    store.verify("attempt-1")
        place.fs.rm(path)
        with pytest.raises(ArchiveFailed, match="attempt-1"):
            store.verify("attempt-1")
        place.fs.pipe_file(path, content)
    store.verify("attempt-1")


def test_damage_is_noticed_while_restoring_before_the_wrong_bytes_come_out(place: Place):
    store = place.open()
    write(store)
    (path,) = [path for path in place.files() if "disk-vda.zst" in path]
    content = bytearray(place.fs.cat_file(path))
    content[-10] ^= 1
    place.fs.pipe_file(path, bytes(content))
    (_, _, read) = store.disks("attempt-1")[0]
    came = bytearray()

    def restore() -> None:
        for chunk in read():
            came.extend(chunk)

    with pytest.raises(ArchiveFailed):
        restore()
    assert IMAGES["vda"].startswith(bytes(came))


def test_an_archive_of_another_lifeboat_is_refused_until_its_key_is_trusted(place: Place):
    write(place.open("theirs"))
    ours = place.open("ours")
    for act in (ours.verify, ours.domain_xml, ours.disks):
        with pytest.raises(ArchiveFailed, match="not trusted here"):
            act("attempt-1")
    trusted = place.keys / "ours" / "trusted-archive-keys"
    trusted.mkdir()
    (trusted / "theirs.pub").write_bytes((place.keys / "theirs" / "signing.pub").read_bytes())
    assert ours.verify("attempt-1").vm_name == "batch"


def test_a_manifest_changed_by_someone_without_the_key_is_refused(place: Place):
    store = place.open()
    write(store)
    path = place.path("attempt-1", "manifest.json")
    manifest = json.loads(place.fs.cat_file(path))
    manifest["vm_name"] = "another"
    place.fs.pipe_file(path, json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())
    with pytest.raises(ArchiveFailed, match="does not match its signature"):
        store.verify("attempt-1")


def test_a_renamed_archive_is_refused(place: Place):
    store = place.open()
    write(store)
    place.fs.mv(place.path("attempt-1"), place.path("attempt-2"), recursive=True)
    with pytest.raises(ArchiveFailed, match="attempt-2"):
        store.verify("attempt-2")


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ArchiveFailed("the disk broke"), KeyError("x")]
)
def test_a_copy_that_breaks_leaves_nothing(place: Place, error: Exception):
    store = place.open()

    def breaks() -> Iterator[bytes]:
        yield b"x" * MIB
        raise error

    disk = vm().disks[0]
    with pytest.raises(ArchiveFailed) as caught:
        write(store, disks=[(disk, breaks)])
    if isinstance(error, OSError):
        assert "is full" in str(caught.value)
        assert place.url in str(caught.value)
        assert str(disk.allocated_bytes) in str(caught.value)
    assert place.files() == []
    assert store.entries() == []
    with pytest.raises(ArchiveFailed, match="never finished"):
        store.verify("attempt-1")


def test_a_cancelled_copy_leaves_nothing(place: Place):
    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(place.open(), on_progress=interrupted)
    assert place.files() == []


def test_what_a_killed_copy_left_is_no_archive_and_can_be_discarded(place: Place):
    store = place.open()
    write(store, "finished")
    place.fs.makedirs(place.path("killed"), exist_ok=True)
    place.fs.pipe_file(place.path("killed", "disk-vda.zst"), b"half")
    assert [entry.id for entry in store.entries()] == ["finished"]
    assert store.leftovers() == ["killed"]
    with pytest.raises(ArchiveFailed, match="never finished"):
        store.verify("killed")
    store.discard("killed")
    with pytest.raises(ArchiveFailed, match="not discarded"):
        store.discard("finished")
    assert store.leftovers() == []
    assert store.verify("finished")


def test_an_id_is_used_once(place: Place):
    store = place.open()
    entry = write(store)
    with pytest.raises(ArchiveFailed, match="exists already"):
        write(store)
    assert store.verify("attempt-1") == entry


@pytest.mark.parametrize("archive_id", ["", "../etc", "a/b", ".hidden", "x" * 200, "a b", "a\n"])
def test_an_id_can_not_leave_the_store(place: Place, archive_id: str):
    store = place.open()
    for act in (store.verify, store.discard, lambda i: write(store, i)):
        with pytest.raises(BadInput, match="archive id"):
            act(archive_id)
    assert place.files() == []


def test_an_empty_store_has_no_archives(place: Place):
    assert place.open().entries() == []
    assert place.open().leftovers() == []


def test_a_plain_archive_opens_with_zstd_alone(tmp_path: Path):
    """An operator without lifeboat at hand still gets the image back."""
    place = Place(f"file://{tmp_path}/archives", {}, tmp_path)
    write(place.open())
    packed = tmp_path / "archives/attempt-1/disk-vda.zst"
    try:
        done = subprocess.run(["zstd", "-dc", str(packed)], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("no zstd program here")
    assert done.stdout == IMAGES["vda"]


def test_only_the_owner_can_read_an_archive_and_the_key(tmp_path: Path):
    place = Place(f"file://{tmp_path}/archives", {}, tmp_path)
    write(place.open())
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "archives/attempt-1").iterdir()}
    assert modes == {0}
    key = tmp_path / "ours/signing.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        place.open()


def test_an_encrypted_archive_shows_nothing_and_needs_its_key(tmp_path: Path):
    keys = []
    for number in range(2):
        key = tmp_path / f"seal-{number}"
        key.write_bytes(os.urandom(32))
        key.chmod(0o600)
        keys.append(key)
    sealed = Place(f"file://{tmp_path}/archives", {"encryption_key_file": keys[0]}, tmp_path)
    write(sealed.open())
    for path in sealed.files():
        content = sealed.fs.cat_file(path)
        assert b"one chunk" not in content
        assert b"<domain" not in content
    for options, why in (({}, "no archive_key_file is set"), ({"encryption_key_file": keys[1]}, "not with this one")):
        other = Place(sealed.url, options, tmp_path).open()
        for act in (other.verify, other.domain_xml, other.disks):
            with pytest.raises(ArchiveFailed, match=why):
                act("attempt-1")


def test_archives_made_before_encryption_was_turned_on_still_open(tmp_path: Path):
    key = tmp_path / "seal"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    plain = Place(f"file://{tmp_path}/archives", {}, tmp_path)
    write(plain.open())
    sealed = Place(plain.url, {"encryption_key_file": key}, tmp_path).open()
    write(sealed, "attempt-2")
    for archive_id in ("attempt-1", "attempt-2"):
        assert sealed.verify(archive_id).id == archive_id
        assert sealed.domain_xml(archive_id) == XML
        assert [b"".join(read()) for _, _, read in sealed.disks(archive_id)] == list(IMAGES.values())


@pytest.mark.parametrize(
    ("url", "why"), [("nosuch://bucket/x", "nosuch"), ("s3://bucket/x", "s3")], ids=["unknown", "driver missing"]
)
def test_a_store_that_can_not_be_opened_is_bad_input(tmp_path: Path, url: str, why: str):
    with pytest.raises(BadInput, match=why):
        FsspecArchiveStore(url, key_file=tmp_path / "key")


def test_a_directory_that_can_not_be_written_is_one_clear_line(tmp_path: Path):
    (tmp_path / "archives").write_text("a file")
    store = FsspecArchiveStore(f"file://{tmp_path}/archives", key_file=tmp_path / "key")
    with pytest.raises(ArchiveFailed) as caught:
        write(store)
    assert "\n" not in str(caught.value)


def test_a_really_full_disk_names_the_store_and_leaves_nothing(tmp_path: Path):
    mount = tmp_path / "small"
    mount.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(mount)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no right to mount a small file system here")
    try:
        store = FsspecArchiveStore(f"file://{mount}/archives", key_file=tmp_path / "key")
        with pytest.raises(ArchiveFailed, match=r"is full: up to \d+ bytes are needed, \d+ are free") as caught:
            write(store)
        assert str(mount) in str(caught.value)
        assert list((mount / "archives").iterdir()) == []
        assert store.free_bytes() == MIB // 2
    finally:
        subprocess.run(["umount", str(mount)], check=True)
