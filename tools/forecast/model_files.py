"""Model files on disk, and the keys that sign them. The layout is models/forecast/learned/serialise.py."""

from __future__ import annotations

from pathlib import Path

from models.errors import BadInput, ModelInvalid
from models.forecast.learned import serialise as store
from tools.atomic_file import write_atomically
from tools.forecast.keys import read_private_key, read_public_key


def save_model(path: Path, model: store.Model, *, key: Path | None = None) -> None:
    """Write the model file whole or not at all. key: an Ed25519 private key (PEM) to sign with. Raises BadInput."""

    data = store.dumps(model, None if key is None else read_private_key(key))
    try:
        write_atomically(path, data)
    except OSError as error:
        raise BadInput(f"the model cannot be written to {path} ({error.strerror})") from None


def load_model(path: Path, *, trusted_key: Path | None = None) -> store.Model:
    """The model in `path`. With `trusted_key` (Ed25519 public key, PEM), only a file it signed. Raises ModelInvalid."""

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelInvalid(f"{path} cannot be read ({error.strerror})") from None
    try:
        return store.loads(data, None if trusted_key is None else read_public_key(trusted_key))
    except ModelInvalid as error:
        raise ModelInvalid(f"{path}: {error.message}", hint=error.hint) from None


def model_name(path: Path) -> str:
    """What tells one model file from another: the start of the SHA-256 it carries. Raises ModelInvalid."""
    try:
        with path.open("rb") as file:
            head = file.read(512).split(b"\n", 2)
    except OSError as error:
        raise ModelInvalid(f"{path} cannot be read ({error.strerror})") from None
    return head[1][:8].decode("ascii", "replace") if len(head) == 3 else ""
