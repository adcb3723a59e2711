"""What every ArchiveStore does: a directory, an object store (fsspec's in-memory one), each plain and encrypted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import fsspec
import pytest
from scenes.small_disk import small_disk

from models.errors import ArchiveFailed, BadInput
from models.fleet import VmState
from tools.archive.store import FsspecArchiveStore
from tools.ports.archives import ArchiveEntry, ImageFile
from tools.ports.vms import DiskObservation, ImageRole, VmObservation

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
        DiskObservation(
            device=device,
            path=f"/images/{device}.qcow2",
            format="qcow2",
            virtual_bytes=1 << 30,
            allocated_bytes=len(image),
            shared=False,
            image_bytes=len(image),
        )
        for device, image in IMAGES.items()
    )
    return VmObservation(
        uuid="7c1f0f5e-5f2c-4d51-9e0e-2d4a6b0f0001",
        name="batch",
        node="node-a",
        state=VmState.SHUTOFF,
        persistent=True,
        disks=disks,
    )


def image_of(disk: DiskObservation) -> ImageFile:
    return ImageFile(
        role=ImageRole.DISK,
        device=disk.device,
        path=disk.path,
        format=disk.format,
        virtual_bytes=disk.virtual_bytes,
        image_bytes=disk.image_bytes or disk.virtual_bytes,
    )


def pieces(image: bytes, size: int = 1 << 18) -> Callable[[], Iterator[bytes]]:
    return lambda: (image[start : start + size] for start in range(0, len(image), size))


def write(store: FsspecArchiveStore, archive_id: str = "attempt-1", **changed: Any) -> ArchiveEntry:
    observation = vm()
    arguments: dict[str, Any] = {
        "archive_id": archive_id,
        "vm": observation,
        "domain_xml": XML,
        "images": [(image_of(disk), pieces(IMAGES[disk.device])) for disk in observation.disks],
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
    found = {image.device: (image, b"".join(read())) for image, read in again.images("attempt-1")}
    assert {device: content for device, (_, content) in found.items()} == IMAGES
    for image, content in found.values():
        assert (image.image_bytes, image.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert {image.virtual_bytes for image, _ in found.values()} == {1 << 30}


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
    (path,) = [path for path in place.files() if "disk-vda" in path and ".zst" in path]
    content = bytearray(place.fs.cat_file(path))
    content[-10] ^= 1
    place.fs.pipe_file(path, bytes(content))
    (_, read) = store.images("attempt-1")[0]
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
    for act in (ours.verify, ours.domain_xml, ours.images):
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
        write(store, images=[(image_of(disk), breaks)])
    if isinstance(error, OSError):
        assert "is full" in str(caught.value)
        assert place.url in str(caught.value)
        assert str(disk.image_bytes) in str(caught.value)
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
    place.fs.pipe_file(place.path("killed", "disk-vda.000000.00000000.zst"), b"half")
    assert [entry.id for entry in store.entries()] == ["finished"]
    assert [leftover.id for leftover in store.leftovers()] == ["killed"]
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
    place = Place(f"file://{tmp_path}/archives", {"segment_chunks": 4}, tmp_path)
    write(place.open())
    packed = sorted((tmp_path / "archives/attempt-1").glob("disk-vda.*.zst"))
    assert len(packed) > 1
    try:
        done = subprocess.run(["zstd", "-dc", *map(str, packed)], capture_output=True, check=True)
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
        for act in (other.verify, other.domain_xml, other.images):
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
        assert [b"".join(read()) for _, read in sealed.images(archive_id)] == list(IMAGES.values())


@pytest.mark.parametrize(
    ("url", "why"), [("nosuch://bucket/x", "nosuch"), ("gs://bucket/x", "gs")], ids=["unknown", "driver missing"]
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
    with small_disk(tmp_path / "small", kilobytes=512) as mount:
        store = FsspecArchiveStore(f"file://{mount}/archives", key_file=tmp_path / "key")
        with pytest.raises(ArchiveFailed, match=r"is full: up to \d+ bytes are needed, \d+ are free") as caught:
            write(store)
        assert str(mount) in str(caught.value)
        assert list((mount / "archives").iterdir()) == []
        assert store.free_bytes() == MIB // 2


# --- an interrupted copy is gone on from -------------------------------------------------------------------------

LONG = Random(7).randbytes(23 * 1000)
CHUNK = 1000


class Interrupted(Exception):
    pass


def copy_until(store: FsspecArchiveStore, archive_id: str, image: bytes, stop_at: int | None = None) -> ArchiveEntry:
    """Copy `image` in chunks; with `stop_at`, the source fails at that chunk, after all before were read back."""

    def read() -> Iterator[bytes]:
        for number, start in enumerate(range(0, len(image), CHUNK)):
            if number == stop_at:
                raise Interrupted
            yield image[start : start + CHUNK]

    disk = replace(vm().disks[0], image_bytes=len(image), allocated_bytes=len(image))
    return write(store, archive_id, images=[(image_of(disk), read)])


def brought_back(store: FsspecArchiveStore, archive_id: str) -> bytes:
    ((_, read),) = store.images(archive_id)
    return b"".join(read())


def segments(place: Place, archive_id: str) -> set[str]:
    return {name.rpartition("/")[2] for name in place.files() if f"/{archive_id}/" in name and ".index" in name}


@pytest.fixture
def in_small_segments(place: Place) -> Place:
    return replace(place, options={**place.options, "segment_chunks": 4})


def test_an_interrupted_copy_is_gone_on_from_by_the_next_of_the_same_vm(in_small_segments: Place):
    place = in_small_segments
    with pytest.raises(ArchiveFailed):
        copy_until(place.open(), "first", LONG, stop_at=14)
    (left,) = place.open().leftovers()
    assert (left.id, left.vm_uuid, left.vm_name) == ("first", vm().uuid, vm().name)
    assert left.stored_bytes > 0
    kept = segments(place, "first")
    assert len(kept) >= 2
    entry = copy_until(place.open(), "second", LONG)
    assert kept < segments(place, "second"), "what was complete was not stored again"
    assert entry.original_bytes == len(LONG)
    assert place.open().leftovers() == []
    assert [each.id for each in place.open().entries()] == ["second"]
    place.open().verify("second")
    assert brought_back(place.open(), "second") == LONG


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image[:9_500] + b"changed" + image[9_507:],
        lambda image: b"x" + image[1:],
        lambda image: image[:5_500],
        lambda image: image[:8_000],
        lambda image: image + b"more",
        lambda image: bytes(len(image)),
        lambda image: b"",
    ],
    ids=["in the middle", "at the start", "shorter", "shorter by segments", "longer", "all zeros", "empty"],
)
def test_a_disk_that_changed_since_is_archived_as_it_is_now(in_small_segments: Place, change: Callable[[bytes], bytes]):
    place, now = in_small_segments, change(LONG)
    with pytest.raises(ArchiveFailed):
        copy_until(place.open(), "first", LONG, stop_at=20)
    copy_until(place.open(), "second", now)
    place.open().verify("second")
    assert brought_back(place.open(), "second") == now
    assert place.open().leftovers() == []


def test_kept_bytes_that_rotted_are_never_believed(in_small_segments: Place):
    place = in_small_segments
    with pytest.raises(ArchiveFailed):
        copy_until(place.open(), "first", LONG, stop_at=14)
    (path, *_) = [path for path in place.files() if ".000000." in path and ".zst" in path]
    content = bytearray(place.fs.cat_file(path))
    content[len(content) // 2] ^= 1
    place.fs.pipe_file(path, bytes(content))
    with pytest.raises(ArchiveFailed, match="SHA-256 differs"):
        copy_until(place.open(), "second", LONG)
    assert place.open().entries() == []
    assert place.open().leftovers() == [], "nor is it tried again with them"
    copy_until(place.open(), "third", LONG)
    assert brought_back(place.open(), "third") == LONG


def test_what_another_vm_or_another_key_left_is_not_touched(in_small_segments: Place, tmp_path: Path):
    place = in_small_segments
    with pytest.raises(ArchiveFailed):
        copy_until(place.open(), "first", LONG, stop_at=14)
    write(place.open(), "other", vm=replace(vm(), uuid="7c1f0f5e-5f2c-4d51-9e0e-2d4a6b0f0002"))
    key = tmp_path / "another.key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    copy_until(replace(place, options={**place.options, "encryption_key_file": key}).open(), "another", LONG)
    assert [left.id for left in place.open().leftovers()] == ["first"]
    place.open().discard("first")
    with pytest.raises(ArchiveFailed, match="nothing named first"):
        place.open().discard("first")


@pytest.mark.parametrize("archive_id", ["plain", "sealed"])
def test_archives_of_version_1_still_verify_and_come_back(tmp_path: Path, archive_id: str):
    """Made by lifeboat before there were segments."""
    old = Path(__file__).parents[1] / "scenes/archives_v1"
    shutil.copytree(old / "archives", tmp_path / "archives")
    key = tmp_path / "seal.key"
    shutil.copy(old / "seal.key", key)
    key.chmod(0o600)
    trusted = tmp_path / "trusted-archive-keys"
    trusted.mkdir()
    shutil.copy(old / "signing.pub", trusted / "old.pub")
    store = FsspecArchiveStore(f"file://{tmp_path}/archives", key_file=tmp_path / "key", encryption_key_file=key)
    assert store.verify(archive_id).vm_name == "old"
    assert "<name>old</name>" in store.domain_xml(archive_id)
    ((image, read),) = store.images(archive_id)
    assert hashlib.sha256(b"".join(read())).hexdigest() == image.sha256
    (path,) = (tmp_path / "archives" / archive_id).glob("disk-vda.zst*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(ArchiveFailed, match=archive_id):
        store.verify(archive_id)
