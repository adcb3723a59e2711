"""A burst of a gigabyte in a node's log: is an event lost or counted twice, how fast is it read, and what does it take in memory?

    .venv/bin/python -m bench.log_burst [--megabytes 1000] [--events 2000]

SYNTHETIC. After a first look at a small log the burst is written: lines of other programs, kernel lines that no pattern names,
one event said a thousand times over, binary rubbish, a line of 3 MB. Between them stand events, each once, at known places and
moments. On the way the log is renamed twice and copied and truncated once, in the middle of the burst; the clock jumps back by an
hour and forth again. `LogFiles` looks five times, in a process of its own. Then 60 MB of the same as journal export. Peers in the
same run over the same bytes: `wc -l`, and `grep -c -E` for the two kinds of event that were planted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

NOW = datetime.now(UTC).replace(microsecond=0)
SEGMENTS = 4
PLANTED = (
    "sd 0:0:0:0: [{disk}] tag#4 Add. Sense: Unrecovered read error - auto reallocate failed",
    "ixgbe 0000:18:00.0 {nic}: NIC Link is Down",
)
NOISE = (
    "sshd[{n}]: Accepted publickey for root from 10.0.{m}.7 port {n} ssh2: RSA SHA256:hHn2zmHJ",
    "kernel: [{n}.123456] hrtimer: interrupt took {n} ns",
    "kernel: [{n}.654321] audit: type=1400 apparmor=ALLOWED operation=open profile=libvirt-{n}",
    "systemd[1]: Started Session {n} of user root.",
    "kernel: [{n}.000001] perf: interrupt took too long ({n} > {m}), lowering kernel.perf_event_max_sample_rate",
)
Told = tuple[int, str, str]
"""Unix second, kind and part of an event."""


def burst(megabytes: int, events: int) -> tuple[list[Callable[[Path], None]], set[Told]]:
    """What writes each segment of the text log, and what stands in them."""
    rng = random.Random(1)
    noise = [rng.choice(NOISE).format(n=rng.randrange(10**5), m=rng.randrange(256)) for _ in range(2000)]
    told: set[Told] = set()
    writers: list[Callable[[Path], None]] = []
    block_bytes = 1 << 20
    blocks = max(1, megabytes // SEGMENTS)
    planted = sorted(rng.sample(range(SEGMENTS * blocks * 50), events))
    for segment in range(SEGMENTS):
        begin, end = segment * blocks, (segment + 1) * blocks
        mine = [place for place in planted if begin * 50 <= place < end * 50]
        texts: dict[int, list[str]] = {}
        for place in mine:
            back = 3600 if segment == 2 else 0  # the clock jumped back, and forth again
            at = NOW - timedelta(seconds=2 * (planted[-1] - place) // 50 + 30 + back)
            at = at + timedelta(seconds=place % 2)
            kind = place % 3 == 0
            disk, nic = f"sd{chr(97 + place % 26)}", f"eno{place % 90}"
            message = PLANTED[kind].format(disk=disk, nic=nic)
            told.add((int(at.timestamp()), "link-down" if kind else "disk-io", nic if kind else disk))
            texts.setdefault(place // 50, []).append(f"{at.isoformat()} node-a kernel: [{place}.1] {message}\n")
        writers.append(_writer(noise, texts, begin, end, block_bytes, segment))
    told.add((int((NOW - timedelta(hours=5)).timestamp()), "memory-corrected", "MC1"))
    return writers, told


def _writer(
    noise: list[str], texts: dict[int, list[str]], begin: int, end: int, size: int, segment: int
) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        rng = random.Random(segment)
        stamp = NOW.isoformat()
        lines = [f"{stamp} node-a {text}\n".encode() for text in noise]
        repeated = f"{(NOW - timedelta(hours=5)).isoformat()} node-a kernel: EDAC MC1: 1 CE memory read error on x\n"
        with path.open("ab") as file:
            for block in range(begin, end):
                rng.shuffle(lines)
                filled = b"".join(lines)
                body = [filled] * (size // len(filled))
                for text in texts.get(block, []):
                    body.insert(rng.randrange(len(body) + 1), text.encode())
                if block % 97 == 0:
                    body.append(repeated.encode() * 1000)
                    body.append(rng.randbytes(20_000).replace(b"\n", b"") + b"\n")
                if block == begin:
                    body.append(b"x" * (3 << 20) + b"\n")
                file.write(b"".join(body))

    return write


def look_apart(directory: Path, journal: Path, pipe: Connection) -> None:
    """A look at each message, in a process of its own: its peak of memory is the reader's alone."""
    from tools.logs.files import LogFiles
    from tools.logs.journald import JournalExport

    log = LogFiles("node-a", [directory], state_file=directory.parent / "note.json")
    export = JournalExport("node-a", [journal])
    pipe.send(None)
    for what in iter(pipe.recv, None):
        before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.perf_counter()
        found = (log if what == "log" else export).events(since=NOW - timedelta(days=3))
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        pipe.send((
            [(int(e.time.timestamp()), e.kind.value, e.part) for e in found], wall, cpu, after.ru_maxrss / 1024.0
        ))  # fmt: skip


def peer(command: list[str], files: list[Path]) -> float:
    """Processor seconds of a command over the files."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=True, env={"LC_ALL": "C"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert any(int(count) for count in re.findall(r"\b\d+$|^ *\d+", done.stdout, re.MULTILINE)), done
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--events", type=int, default=2000)
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="lifeboat-bench-"))
    logs, journal = home / "logs", home / "node-a.export"
    logs.mkdir()
    file = logs / "kern.log"
    file.write_text(f"{NOW.isoformat()} node-a kernel: booted\n")
    journal.write_bytes(b"")
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    reader = context.Process(target=look_apart, args=(logs, journal, its), daemon=True)
    reader.start()
    try:
        mine.recv()

        def look(what: str = "log") -> tuple[list[Told], float, float, float]:
            mine.send(what)
            return mine.recv()

        start_peak = look()[3]
        writers, planted = burst(chosen.megabytes, chosen.events)
        looks: list[tuple[list[Told], float, float, float]] = []
        for number, write in enumerate(writers):
            write(file)
            if number == 0:
                looks.append(look())
            elif number == 1:  # copied and truncated, after a look
                looks.append(look())
                shutil.copy(file, logs / "kern.log.3")
                os.truncate(file, 0)
            if number in (0, 2):  # renamed; what came since the last look is in the old one
                file.rename(logs / f"kern.log.{2 - number // 2}")
                file.touch()
                looks.append(look())
        looks.append(look())
        found = looks[-1][0]
        files = sorted(logs.iterdir())
        size = sum(f.stat().st_size for f in files)
        read = size / 1e6  # the copy is read, too
        cpu = sum(one[2] for one in looks)
        words = "Unrecovered read error|NIC Link is Down"
        peers = {"wc -l": peer(["wc", "-l"], files), "grep -c -E": peer(["grep", "-a", "-c", "-E", words], files)}
        in_journal = _journal(journal, files)
        exported = look("journal")
        print(json.dumps({
            "megabytes": round(read), "looks": len(looks), "planted": len(planted), "lost": len(planted - set(found)),
            "twice": len(found) - len(set(found)), "not_planted": len(set(found) - planted),
            "load": round(os.getloadavg()[0], 1), "cpu_seconds": round(cpu, 2), "megabytes_a_cpu_second": round(read / cpu),
            "peers_cpu_seconds": {name: round(one, 2) for name, one in peers.items()},
            "over": {name: round(cpu / one, 2) for name, one in peers.items()},
            "megabytes_of_memory_before_and_at_peak": [round(start_peak), round(looks[-1][3])],
            "journal_export": {
                "megabytes": round(journal.stat().st_size / 1e6), "planted": len(in_journal),
                "lost": len(in_journal - set(exported[0])), "twice": len(exported[0]) - len(set(exported[0])),
                "not_planted": len(set(exported[0]) - in_journal), "cpu_seconds": round(exported[2], 2),
                "megabytes_a_cpu_second": round(journal.stat().st_size / 1e6 / exported[2]),
                "megabytes_of_memory_at_peak": round(exported[3]),
            },
        }))  # fmt: skip
        mine.send(None)
    finally:
        reader.join(10)
        shutil.rmtree(home)


def _journal(path: Path, files: list[Path]) -> set[Told]:
    """The first lines of the text logs as an export of 60 MB, under what is read of a file seen for the first time."""
    from tools.logs.files import split_line
    from tools.logs.reader import understand

    told: set[Told] = set()
    with path.open("wb") as out:
        for file in files:
            for raw in file.open("rb"):
                if out.tell() > 60_000_000:
                    return told
                line = raw.decode("utf-8", "replace").rstrip("\n")
                split = split_line(line)
                if split is None or len(line) > 8000:
                    continue
                at = datetime.fromisoformat(line.split(" ", 1)[0])
                out.write(
                    f"__CURSOR=s=1;i={out.tell():x}\n__REALTIME_TIMESTAMP={int(at.timestamp() * 1e6)}\n_HOSTNAME=node-a\n"
                    f"PRIORITY=3\n_TRANSPORT=kernel\nSYSLOG_IDENTIFIER={split[0]}\nMESSAGE={split[1]}\n\n".encode()
                )
                finding = understand(*split)
                if finding is not None:
                    told.add((int(at.timestamp()), finding.kind.value, finding.part))
    return told


if __name__ == "__main__":
    main()
