"""Who is at this terminal, by the kernel's word: environment variables and names on the command line prove nothing."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

_LOGIN = Path("/proc/self/loginuid")
_NO_LOGIN = (1 << 32) - 1
"""audit(7): the process was started by no login, such as a service or a container"""


def terminal_identity(login: Path = _LOGIN) -> str:
    """`terminal:ana`: the account that logged in, which stays through sudo and su; where there was no login, the account
    that this runs as."""
    try:
        uid = int(login.read_text())
    except (OSError, ValueError):
        uid = _NO_LOGIN
    if uid == _NO_LOGIN:
        uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid-{uid}"
    return f"terminal:{name}"
