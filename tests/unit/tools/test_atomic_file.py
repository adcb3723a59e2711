"""A file that is written atomically is there as it was or as it shall be, whatever happens meanwhile."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.atomic_file import replacing, write_atomically


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a full disk: what goes beyond is an OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def umask(bits: int) -> Iterator[None]:
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_it_is_made_and_replaced(tmp_path: Path):
    path = tmp_path / "state.json"
    write_atomically(path, "first – ü")
    assert path.read_text(encoding="utf-8") == "first – ü"
    write_atomically(path, b"\x00second")
    assert path.read_bytes() == b"\x00second"
    assert names(tmp_path) == ["state.json"]


class PowerCut(BaseException):
    """Nothing of the program runs after it."""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_cut_off_before_it_took_its_place_the_old_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    path = tmp_path / "state.json"
    write_atomically(path, "old")

    def cut(*_: object) -> None:
        raise PowerCut

    monkeypatch.setattr(os, call, cut)
    with pytest.raises(PowerCut):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_what_takes_its_place_is_on_disk_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The order matters to a machine that loses power: a name that reaches the disk before the content is an empty file."""
    path, synced = tmp_path / "state.json", set[int]()
    honest_sync, honest_replace = os.fsync, os.replace

    def sync(file: int) -> None:
        honest_sync(file)
        synced.add(os.fstat(file).st_ino)

    def replace(source: Path, target: Path) -> None:
        assert source.stat().st_ino in synced, "its content may still be lost"
        honest_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(path, "new")
    assert tmp_path.stat().st_ino in synced, "its name may still be lost"


def test_a_full_disk_leaves_the_old_one_and_nothing_else(tmp_path: Path):
    path = tmp_path / "state.json"
    write_atomically(path, "old")
    with no_file_larger_than(1000), pytest.raises(OSError, match="File too large"):
        write_atomically(path, "x" * 5000)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["state.json"]


def test_a_block_that_fails_half_way_leaves_the_old_one_and_nothing_else(tmp_path: Path):
    path = tmp_path / "table.parquet"
    write_atomically(path, "old")

    def half() -> None:
        with replacing(path) as draft:
            draft.write_text("ne")
            raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.parquet"]


def test_whoever_reads_meanwhile_sees_one_or_the_other_whole(tmp_path: Path):
    path, over = tmp_path / "state", threading.Event()
    contents = (b"a" * 300_000, b"b" * 500_000)
    write_atomically(path, contents[0])
    torn: list[int] = []

    def read() -> None:
        while not over.is_set():
            seen = path.read_bytes()
            if seen not in contents:
                torn.append(len(seen))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(40):
        write_atomically(path, contents[turn % 2])
    over.set()
    reader.join()
    assert torn == []


@pytest.mark.parametrize("bits", [0o000, 0o077])
def test_it_is_private_unless_said_otherwise(tmp_path: Path, bits: int):
    with umask(bits):
        write_atomically(tmp_path / "private", "")
        write_atomically(tmp_path / "public", "", mode=0o644)
        write_atomically(tmp_path / "usual", "", mode=None)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in names(tmp_path)}
    assert modes == {"private": 0o600, "public": 0o644, "usual": 0o666 & ~bits}


def test_one_that_others_could_read_is_private_from_the_first_byte(tmp_path: Path):
    with umask(0), replacing(tmp_path / "key") as draft:
        assert draft.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", ["none/state.json", "file/state.json", "folder"])
def test_a_place_that_can_not_be_written_is_an_os_error(tmp_path: Path, place: str):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"No such file|Not a directory|Is a directory"):
        write_atomically(tmp_path / place, "new")
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no directory is closed to root too")
def test_without_the_right_to_write_there_it_is_an_os_error():
    with pytest.raises(OSError, match=r"denied|permitted|Read-only"):
        write_atomically(Path("/sys/kernel/lifeboat.json"), "new")


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/state.json").write_text("old")
    (tmp_path / "state.json").symlink_to("disk/state.json")
    write_atomically(tmp_path / "state.json", "new")
    assert (tmp_path / "state.json").is_symlink()
    assert (tmp_path / "disk/state.json").read_text() == "new"


def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path: Path):
    """`--report /dev/stdout`, `/dev/null`: as root, replacing those would harm the whole machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, "new")
    reader.join()
    assert seen == [b"new"]
    assert pipe.is_fifo()
