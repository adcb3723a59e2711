"""Broken files of every kind, handed to the command that reads them: each ends in an answer or in one line.

    ./dev bench mutations [--count 300] [--seed 0] [--only KIND] [--json]

A case fails when its command takes ten seconds or more, ends outside the exit codes of the contract, prints a traceback,
`unexpected`, more than one line for a bad input, an answer that is not JSON, or a character that a terminal obeys, or when it
ends the process. Each kind runs in a process of its own; a file that failed is kept. The hash over a model file is made right
again after most mutations: otherwise nothing behind it would ever be reached.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from bench.mutation_seeds import KINDS, Kind

LIMIT_SECONDS = 10.0
EXIT_CODES = {0, 1, 2, 3, 4}

_NUMBERS = (
    b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"9" * 400, b"1e-400", b"99999999999999999999",
    b"null", b"[]", b"{}", b'""', b"true",
)  # fmt: skip
"""and other types in their place"""
_TOKENS = (
    *_NUMBERS, b'"\\ud800"', b'"\\u0000"', b"\x1b[2J", b"\xe2\x80\xae", b"\xff\xfe", b"\x00", b"\xed\xa0\x80",
    b'"2999-01-01T00:00:00Z"', b"-3h", b"*a", b"&a [*a]", b"!!python/object:os.system x",
    b"<!ENTITY a 'b'>", b"]]>", b"&lt;", b"%s%n", b"../../etc/passwd",
    b"[" * 3000, b'{"a":' * 3000, b"<a>" * 3000, b"\n" * 3000, b"a" * 70000,
)  # fmt: skip
"""half characters, what a terminal obeys, depth, and what parsers trip over"""
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_WORD = re.compile(rb'"[^"\n]*"|[A-Za-z_][\w-]*')


def _spot(content: bytes, pattern: re.Pattern[bytes], chance: random.Random) -> tuple[int, int]:
    """Start and end of one match, or of a few bytes anywhere."""
    found = [match.span() for match in pattern.finditer(content[:200_000])]
    if found:
        return chance.choice(found)
    start = chance.randrange(len(content) + 1)
    return start, min(len(content), start + chance.randrange(8))


def _flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _repeat_part(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content) + 1)
    part = content[start : start + chance.choice((10, 100, 1000))]
    return content[:start] + part * chance.choice((2, 3, 400)) + content[start:]


def _repeat_line(content: bytes, chance: random.Random) -> bytes:
    """A repeated key, record or element."""
    lines = content.splitlines(keepends=True) or [b"\n"]
    place = chance.randrange(len(lines))
    return b"".join((*lines[:place], lines[place] * chance.choice((2, 2, 300)), *lines[place:]))


def _drop_line(content: bytes, chance: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    del lines[chance.randrange(len(lines))]
    return b"".join(lines)


def _other_number(content: bytes, chance: random.Random) -> bytes:
    start, end = _spot(content, _NUMBER, chance)
    return content[:start] + chance.choice(_NUMBERS) + content[end:]


def _other_word(content: bytes, chance: random.Random) -> bytes:
    start, end = _spot(content, _WORD, chance)
    return content[:start] + chance.choice(_TOKENS) + content[end:]


def _swap_words(content: bytes, chance: random.Random) -> bytes:
    a, b = sorted((_spot(content, _WORD, chance), _spot(content, _WORD, chance)))
    if a[1] > b[0]:
        return _flip(content, chance)
    return content[: a[0]] + content[b[0] : b[1]] + content[a[1] : b[0]] + content[a[0] : a[1]] + content[b[1] :]


def _insert(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    return content[:place] + chance.choice(_TOKENS) + content[place:]


_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _truncate, _repeat_part, _repeat_line, _drop_line, _other_number, _other_number, _other_word, _other_word,
    _swap_words, _insert,
)  # fmt: skip


def mutated(content: bytes, chance: random.Random) -> bytes:
    """One to three mutations of a file's bytes."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        content = chance.choice(_MUTATIONS)(content, chance)
    return content


class _TooLong(BaseException):
    """Not an Exception: no `except` of a command may take it."""


@dataclass(frozen=True)
class Ended:
    """How one command ended."""

    exit_code: int | None
    """None: it was still running after LIMIT_SECONDS"""
    stdout: str
    stderr: str
    seconds: float


def run_command(arguments: list[str]) -> Ended:
    """Run `lifeboat` in this process, as from a shell, for LIMIT_SECONDS at most. Main thread only."""
    from agent.cli.main import main

    def stop(*_: object) -> None:
        raise _TooLong

    out, error = io.StringIO(), io.StringIO()
    told, before = sys.argv, signal.signal(signal.SIGALRM, stop)
    sys.argv = ["lifeboat", *arguments]
    begun = time.monotonic()
    code: int | None = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except _TooLong:
        code = None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.argv = told
    return Ended(code, out.getvalue(), error.getvalue(), time.monotonic() - begun)


def fault_of(ended: Ended) -> str | None:
    """What is wrong with how a command ended, or None."""
    if ended.exit_code is None or ended.seconds >= LIMIT_SECONDS:
        return f"took {LIMIT_SECONDS:.0f} s or more"
    if ended.exit_code not in EXIT_CODES:
        return f"exit code {ended.exit_code}"
    if "Traceback" in ended.stderr + ended.stdout:
        return "traceback"
    if "[unexpected]" in ended.stderr:
        return ended.stderr.strip().splitlines()[-1]
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("note: ")]
    if ended.exit_code == 2 and (
        len(lines) != 1 or not re.search(r"\[[a-z-]+\](; see `lifeboat explain [a-z-]+`)?$", lines[0])
    ):
        return f"exit code 2 with {len(lines)} lines"
    for stream in (ended.stdout, ended.stderr):
        if obeyed := re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", stream):
            return f"printed {obeyed[0]!a}"
    if ended.exit_code == 0:
        try:
            json.loads(ended.stdout)
        except ValueError:
            return "exit code 0 without JSON"
    return None


@dataclass
class Result:
    """What came of one kind of file."""

    kind: str
    cases: int = 0
    exit_codes: Counter[str] = field(default_factory=Counter[str])
    slowest_seconds: float = 0.0
    faults: list[str] = field(default_factory=list[str])
    """what was wrong, and the file that shows it"""


@contextlib.contextmanager
def _in(directory: Path) -> Generator[None]:
    """Work there, crash reports included, out of reach of settings in the environment."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("LIFEBOAT_")}
    before, told = Path.cwd(), tempfile.tempdir
    os.chdir(directory)
    tempfile.tempdir = str(directory)
    try:
        yield
    finally:
        os.chdir(before)
        tempfile.tempdir = told
        os.environ.update(kept)


def try_kind(kind: Kind, count: int, seed: int, scratch: Path) -> Result:
    """Write the kind's files into `scratch`, mutate one of them `count` times, and run the command on each."""
    result = Result(kind.name)
    chance = random.Random(f"{seed} {kind.name}")
    world = scratch / "world"
    world.mkdir(parents=True, exist_ok=True)
    kind.build(world)
    whole = {str(path.relative_to(world)): path.read_bytes() for name in kind.mutates for path in world.glob(name)}
    kept = {path: path.read_bytes() for path in world.rglob("*") if path.is_file()}
    with _in(world):
        if (fault := fault_of(ended := run_command(list(kind.command)))) or ended.exit_code not in kind.sound:
            result.faults.append(f"the sound file: {fault or ended.exit_code}: {ended.stderr.strip()[:300]}")
            return result
        for number in range(max(1, round(count * kind.share))):
            name = chance.choice(sorted(whole))
            content = kind.mutate(whole[name], chance, mutated)
            fitting = kind.follows(world, world / name, content) if kind.follows is not None else {}
            _lay_out(world, {**kept, world / name: content, **fitting})
            (scratch / "last").write_bytes(content)
            ended = run_command(list(kind.command))
            result.cases += 1
            result.exit_codes[str(ended.exit_code)] += 1
            result.slowest_seconds = max(result.slowest_seconds, round(ended.seconds, 2))
            if (fault := fault_of(ended)) is not None:
                shown = scratch / f"{kind.name.replace(' ', '-')}-{number}-{Path(name).name}"
                shutil.copy(scratch / "last", shown)
                result.faults.append(f"{fault} ({shown})")
    return result


def _lay_out(world: Path, files: dict[Path, bytes]) -> None:
    for path in world.rglob("*"):
        if path.is_file() and path not in files:
            path.unlink()
    for path, content in files.items():
        path.write_bytes(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="mutated files of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[kind.name for kind in KINDS], help="one kind of file")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="lifeboat-mutations-"))
    results: list[Result] = []
    for place, kind in enumerate(KINDS):
        if options.only not in (None, kind.name):
            continue
        where = scratch / str(place)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                result = pool.submit(try_kind, kind, options.count, options.seed, where).result()
            except BrokenProcessPool:
                result = Result(kind.name, faults=[f"ended the process ({where}/last)"])
        results.append(result)
        if not options.json:
            codes = ", ".join(f"{code}: {times}" for code, times in sorted(result.exit_codes.items()))
            print(
                f"{kind.name:16} {result.cases:6} cases, exit codes {codes}; slowest {result.slowest_seconds} s",
                flush=True,
            )
            for fault in result.faults:
                print(f"    {fault}", flush=True)
    if options.json:
        print(json.dumps([vars(each) for each in results], indent=2))
    failed = sum(len(each.faults) for each in results)
    if failed == 0:
        shutil.rmtree(scratch)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
