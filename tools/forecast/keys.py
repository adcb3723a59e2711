"""The keys that sign model files, from their PEM files."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from models.errors import BadInput


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Raises BadInput for anything else."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadInput(f"{path} is not an Ed25519 private key in PEM without a password ({error})") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{path} is a private key, but not an Ed25519 one")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Raises BadInput for anything else."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise BadInput(f"{path} is not an Ed25519 public key in PEM ({error})") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{path} is a public key, but not an Ed25519 one")
    return key
