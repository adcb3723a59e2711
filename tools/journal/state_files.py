"""Why a file of lifeboat's state can't be opened, in one line that says whose it is."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

from models.errors import BadInput


def cannot_open(path: Path, error: OSError, *, what: str) -> BadInput:
    """`what`: how the message names the file, such as `journal`."""
    place = next((each for each in (path, *path.parents) if os.path.lexists(each)), path.parent)
    because = error.strerror or str(error)
    hint = "check state_dir in the settings; nothing was changed"
    match error.errno:
        case errno.EACCES | errno.EPERM:
            owner, user = _owner(place), _name(os.geteuid())
            if owner is not None and owner != user:
                because += f": {place} belongs to {owner}, and this lifeboat runs as {user}"
            hint = (
                f"run it as its owner, or give {user} the folder: `chown -R {user} {path.parent}`; nothing was changed"
            )
        case errno.EROFS:
            hint = "it is mounted read-only: mount it to be written to, or set another state_dir; nothing was changed"
        case errno.ENOSPC | errno.EDQUOT:
            hint = "make room on its disk; nothing was changed"
        case _:
            pass
    return BadInput(f"{what} {path} can't be opened: {because}", hint=hint)


def _owner(place: Path) -> str | None:
    try:
        return _name(place.stat().st_uid)
    except OSError:
        return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
