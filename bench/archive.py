"""Cold archive beside the shell pipeline an operator would write, on the same disk in the same run.

    python -m bench.archive [--gib 1 4] [--rounds 3] [--json]

The image is a third random bytes, a third text, a third holes. The peer reads it through `tee` into `sha256sum` and
`zstd -3 -T0`, and syncs the result: a raw image needs no `qemu-img convert`, which can't write into a pipe; the figure
with it (into a scratch file, then the pipeline) stands beside it. Ours does more: SHA-256 of every chunk as stored and
as read, an index, a signed manifest, and every stored byte read back, decompressed and compared; so there is a figure
with and one without the read-back, and the peer has one with `zstd -dc | sha256sum` after it.

Each run is a process of its own, begins with the image and the archive out of the page cache, and tells its own peak of
memory. Ratios of speed are ours over the peer's, at the median of the rounds, which take turns. On a machine that others
load too, the ratios of processor time (lower is better) say more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.fleet import VmState
from tools.archive import store as archive_store
from tools.archive.chunks import CHUNK_BYTES
from tools.archive.store import FsspecArchiveStore
from tools.ports.archives import ImageFile
from tools.ports.vms import ImageRole, VmObservation

GIB = 1 << 30
MIB = 1 << 20
_PIPE = 'tee >(sha256sum > "$2.sum") < "$1" | zstd -q -3 -T0 -f -o "$2" && sync "$2" "$2.sum"'
PEERS = {
    "pipeline": _PIPE,
    "convert_and_pipeline": f'qemu-img convert -f raw -O raw "$1" "$3" && set -- "$3" "$2" && {_PIPE}',
    "pipeline_and_read_back": f'{_PIPE} && test "$(zstd -q -dc "$2" | sha256sum)" = "$(cat "$2.sum")"',
}


def make_image(path: Path, size: int) -> None:
    """A third random, a third text, a third holes, in stretches of 8 MiB."""
    chance = random.Random(size)
    words = [chance.randbytes(chance.randint(2, 9)).hex().encode() for _ in range(4000)]
    text = b" ".join(chance.choice(words) for _ in range(1_500_000))
    with path.open("wb") as file:
        for stretch in range(size // (8 * MIB)):
            file.seek(stretch * 8 * MIB)
            if stretch % 3 == 0:
                file.write(os.urandom(8 * MIB))
            elif stretch % 3 == 1:
                begin = chance.randrange(len(text) - 8 * MIB)
                file.write(text[begin : begin + 8 * MIB])
        file.truncate(size)
        os.fsync(file.fileno())


def forget(path: Path) -> None:
    """Out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def archive(image: Path, directory: Path, *, read_back: bool) -> dict[str, Any]:
    """One archive of ours, in this process: seconds and peak of memory."""
    if not read_back:
        _without_read_back()

    def read() -> Iterator[bytes]:
        with image.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    size = image.stat().st_size
    store = FsspecArchiveStore(f"file://{directory}/archives", key_file=directory / "key")
    vm = VmObservation(
        uuid="00000000-0000-4000-8000-000000000001",
        name="bench",
        node="node-a",
        state=VmState.SHUTOFF,
        persistent=True,
        disks=(),
    )
    file = ImageFile(
        role=ImageRole.DISK, device="vda", path=str(image), format="raw", virtual_bytes=size, image_bytes=size
    )
    begun = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    entry = store.write(
        archive_id="bench", vm=vm, domain_xml="<domain/>", images=[(file, read)], on_progress=lambda _done, _total: None
    )
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    processor = used.ru_utime + used.ru_stime - begun.ru_utime - begun.ru_stime
    return {
        "seconds": seconds,
        "processor_seconds": processor,
        "stored_bytes": entry.stored_bytes,
        "peak_memory_bytes": peak,
    }


def _without_read_back() -> None:
    """What was written counts as what was read back."""
    from tools.archive import images as archive_images

    class Unread(archive_images.ImageWriter):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self._whole_back = self._whole

    def nothing_read(*_: Any) -> Iterator[bytes]:
        return iter(())

    archive_images._originals = nothing_read  # pyright: ignore[reportPrivateUsage]
    archive_store.ImageWriter = Unread


def run_ours(image: Path, directory: Path, *, read_back: bool) -> dict[str, Any]:
    shutil.rmtree(directory / "archives", ignore_errors=True)
    forget(image)
    part = "--with-read-back" if read_back else "--without-read-back"
    command = [sys.executable, "-m", "bench.archive", part, str(image), str(directory)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_peer(script: str, image: Path, directory: Path) -> dict[str, Any]:
    out = directory / "peer.zst"
    out.unlink(missing_ok=True)
    forget(image)
    command = ["bash", "-euo", "pipefail", "-c", script, "peer", str(image), str(out), str(directory / "scratch.raw")]
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True)
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = used.ru_utime + used.ru_stime - begun.ru_utime - begun.ru_stime
    return {"seconds": seconds, "processor_seconds": processor, "stored_bytes": out.stat().st_size}


def measure(gib: int, rounds: int, directory: Path) -> dict[str, Any]:
    image = directory / "disk.raw"
    make_image(image, gib * GIB)
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for name, script in PEERS.items():
            runs.setdefault(name, []).append(run_peer(script, image, directory))
        for name, read_back in (("ours_without_read_back", False), ("ours", True)):
            runs.setdefault(name, []).append(run_ours(image, directory, read_back=read_back))
    image.unlink()
    seconds = {name: statistics.median(run["seconds"] for run in each) for name, each in runs.items()}
    processor = {name: statistics.median(run["processor_seconds"] for run in each) for name, each in runs.items()}
    found: dict[str, Any] = {
        f"{name}_mb_per_second": round(gib * GIB / took / 1e6, 1) for name, took in seconds.items()
    }
    return found | {
        "speed_ratio_to_pipeline": round(seconds["pipeline"] / seconds["ours"], 2),
        "speed_ratio_to_pipeline_without_read_back": round(seconds["pipeline"] / seconds["ours_without_read_back"], 2),
        "speed_ratio_to_convert_and_pipeline": round(seconds["convert_and_pipeline"] / seconds["ours"], 2),
        "speed_ratio_to_pipeline_and_read_back": round(seconds["pipeline_and_read_back"] / seconds["ours"], 2),
        "processor_time_ratio_to_pipeline": round(processor["ours"] / processor["pipeline"], 2),
        "processor_time_ratio_to_pipeline_and_read_back": round(
            processor["ours"] / processor["pipeline_and_read_back"], 2
        ),
        "stored_ratio_to_pipeline": round(runs["ours"][-1]["stored_bytes"] / runs["pipeline"][-1]["stored_bytes"], 3),
        "peak_memory_mb": round(max(run["peak_memory_bytes"] for run in runs["ours"]) / 1e6),
        "load_average": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--with-read-back", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--without-read-back", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for part, read_back in ((arguments.with_read_back, True), (arguments.without_read_back, False)):
        if part:
            print(json.dumps(archive(*part, read_back=read_back)))
            return
    found: dict[str, Any] = {}
    for gib in arguments.gib:
        with tempfile.TemporaryDirectory(prefix="lifeboat-bench-", dir="/var/tmp") as directory:
            found[f"{gib} GiB"] = measure(gib, arguments.rounds, Path(directory))
    if arguments.json:
        print(json.dumps(found))
        return
    for size, figures in found.items():
        print(size)
        for name, figure in figures.items():
            print(f"  {name.replace('_', ' '):44} {figure}")


if __name__ == "__main__":
    main()
