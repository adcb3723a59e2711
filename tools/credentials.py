"""Secrets that systemd hands to the service: `credential:NAME` where settings name a file (systemd.exec(5), Credentials)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

PREFIX = "credential:"
ID = "lifeboat"
"""of deploy/lifeboat.service: `LoadCredential=lifeboat:/etc/lifeboat/credentials` calls each file there `lifeboat_NAME`"""
_OF_THE_SERVICE = "/run/credentials/lifeboat.service"
"""where they are for who looks from outside the service; only root may"""


def secret_path(value: Any) -> Any:
    """The file that `credential:NAME` stands for; what is something else is left as it is. Raises ValueError for no name."""
    if not isinstance(value, str) or not value.startswith(PREFIX):
        return value
    name = value.removeprefix(PREFIX)
    if not name or "/" in name or name in (".", ".."):
        raise ValueError(f"expected {PREFIX}NAME, the name of a systemd credential")
    directory = Path(os.environ.get("CREDENTIALS_DIRECTORY") or _OF_THE_SERVICE)
    own = directory / name
    return own if os.access(own, os.F_OK) else directory / f"{ID}_{name}"


SecretFile = Annotated[Path, BeforeValidator(secret_path)]
"""a file's path, or `credential:NAME`"""


def is_credential(path: Path) -> bool:
    """Whether systemd put it there for this service alone. It may lend it by an access list: the file's mode then says 0440,
    and no group reads it, as only root and the service get into that folder."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(directory) and path.parent == Path(directory)
