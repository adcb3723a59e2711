"""The archive store over S3, through s3fs and a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from scenes.stub_s3 import StubS3, stub_s3

from models.errors import ArchiveFailed
from models.fleet import VmState
from tools.archive.store import FsspecArchiveStore
from tools.ports.archives import ArchiveEntry, ImageFile
from tools.ports.vms import ImageRole, VmObservation

pytestmark = pytest.mark.slow

MIB = 1 << 20
VM = VmObservation(
    uuid="7c1f0f5e-5f2c-4d51-9e0e-2d4a6b0f0001",
    name="batch",
    node="node-a",
    state=VmState.SHUTOFF,
    persistent=True,
    disks=(),
)
IMAGE = Random(3).randbytes(20 * MIB) + bytes(5 * MIB)
CHUNK = 4 * MIB


@pytest.fixture
def s3() -> Iterator[StubS3]:
    with stub_s3() as stub:
        yield stub


def store(s3: StubS3, directory: Path) -> FsspecArchiveStore:
    options = {
        "key": "someone",
        "secret": "secret",
        "endpoint_url": s3.url,
        "skip_instance_cache": True,
        "config_kwargs": {"retries": {"max_attempts": 1}, "s3": {"addressing_style": "path"}},
        "client_kwargs": {"region_name": "nowhere-1"},
    }
    return FsspecArchiveStore("s3://bucket/archives", key_file=directory / "key", options=options, segment_chunks=3)


def write(target: FsspecArchiveStore, archive_id: str, stop_at: int | None = None) -> ArchiveEntry:
    def read() -> Iterator[bytes]:
        for number, start in enumerate(range(0, len(IMAGE), CHUNK)):
            if number == stop_at:
                raise ArchiveFailed("the source broke")
            yield IMAGE[start : start + CHUNK]

    image = ImageFile(
        role=ImageRole.DISK,
        device="vda",
        path="/images/batch.raw",
        format="raw",
        virtual_bytes=len(IMAGE),
        image_bytes=len(IMAGE),
    )
    return target.write(
        archive_id=archive_id, vm=VM, domain_xml="<domain/>", images=[(image, read)], on_progress=lambda *_: None
    )


def test_what_goes_in_comes_out(s3: StubS3, tmp_path: Path):
    entry = write(store(s3, tmp_path), "first")
    again = store(s3, tmp_path)
    assert again.entries() == [entry]
    assert again.verify("first") == entry
    ((_, read),) = again.images("first")
    assert b"".join(read()) == IMAGE
    assert s3.uploads == {}
    assert again.leftovers() == []
    assert again.free_bytes() is None


def test_an_interrupted_upload_is_called_off_and_the_next_goes_on(s3: StubS3, tmp_path: Path):
    with pytest.raises(ArchiveFailed, match="the source broke"):
        write(store(s3, tmp_path), "first", stop_at=5)
    assert s3.uploads == {}, "parts of an upload that nobody completes are kept, and billed"
    assert [left.id for left in store(s3, tmp_path).leftovers()] == ["first"]
    kept = {name.rpartition("/")[2] for name in s3.objects if name.endswith(".zst")}
    assert len(kept) == 1, "half a segment is no object"
    write(store(s3, tmp_path), "second")
    assert kept < {name.rpartition("/")[2] for name in s3.objects if name.endswith(".zst")}
    assert not [name for name in s3.objects if "/first/" in name]
    store(s3, tmp_path).verify("second")


def test_damage_is_noticed(s3: StubS3, tmp_path: Path):
    write(store(s3, tmp_path), "first")
    name = next(name for name in s3.objects if name.endswith(".zst"))
    content = bytearray(s3.objects[name])
    content[len(content) // 2] ^= 1
    s3.objects[name] = bytes(content)
    with pytest.raises(ArchiveFailed, match="SHA-256 differs"):
        store(s3, tmp_path).verify("first")
    del s3.objects[name]
    with pytest.raises(ArchiveFailed, match="first"):
        store(s3, tmp_path).verify("first")


@pytest.mark.parametrize("fail", [(403, "AccessDenied"), (500, "InternalError"), (404, "NoSuchBucket")])
def test_what_the_store_says_is_one_line(s3: StubS3, tmp_path: Path, fail: tuple[int, str]):
    target = store(s3, tmp_path)
    s3.fail = fail
    for act in (lambda: write(target, "first"), lambda: target.verify("first")):
        with pytest.raises(ArchiveFailed) as caught:
            act()
        assert "\n" not in str(caught.value)
        assert "first" in str(caught.value)


def test_a_store_that_does_not_answer_is_one_line(s3: StubS3, tmp_path: Path):
    target = store(s3, tmp_path)
    s3.close()
    with pytest.raises(ArchiveFailed) as caught:
        target.entries()
    assert "\n" not in str(caught.value)
