"""Files that are written whole or not at all, and are on disk when the call returns."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, content: str | bytes, *, mode: int | None = 0o600) -> None:
    """Put `content` (text as UTF-8) in the place of what is at `path`; as `replacing` otherwise."""
    with replacing(path, mode=mode) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, mode: int | None = 0o600) -> Generator[Path]:
    """A new file beside `path` for the block to write, which takes its place when the block is left.

    Whoever reads `path`, also after a crash, finds the old file or the new one, whole. `mode`: the new file's permission
    bits; None: what the umask gives any new file. A link stays, and what it leads to is replaced. What is no regular file
    (`/dev/stdout`, a pipe) is written to as it is: nothing there could be kept whole.

    When the block raises, or the disk is full, nothing is changed. A crash may leave a hidden `.NAME.….new`, which nobody
    reads. Raises OSError; FileNotFoundError when there is no such directory.
    """
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        regular = True
    if not regular:
        yield path
        return
    place = Path(os.path.realpath(path))
    draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}.new")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
    try:
        try:
            if mode is not None:
                os.fchmod(file, mode)  # the umask may have taken some of it
            yield draft
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(draft, place)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_directory(place.parent)


def _sync_directory(directory: Path) -> None:
    """A name is on disk only once its directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems sync no directories
            raise
    finally:
        os.close(descriptor)
