"""Keys of archives: the Ed25519 key that signs manifests, whose signatures count, and the AES key where one is set."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from models.errors import ArchiveFailed, BadInput
from tools.credentials import is_credential

_TRUSTED = "trusted-archive-keys"
_NONCE_BYTES = 12


def key_id(public: Ed25519PublicKey) -> str:
    """Short name of a key for people: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(_raw(public)).hexdigest()[:16]


class Signer:
    """Signs with this lifeboat's own key, and accepts its signatures and those of the keys trusted beside it.

    The key lies in `key_file`, readable by its owner only, and is made on first use with its public half beside it
    (`.pub`). An archive outlives the machine that made it: copy the `.pub` file of every lifeboat whose archives you
    may restore into `trusted-archive-keys/` beside the key. Raises BadInput when the key can't be read or made, or
    others can read it.
    """

    def __init__(self, key_file: Path) -> None:
        self._trusted_directory = key_file.parent / _TRUSTED
        self._private = _load_or_create(key_file)
        self._public = self._private.public_key()

    @property
    def key_id(self) -> str:
        return key_id(self._public)

    def sign(self, message: bytes) -> bytes:
        """The signature file for a manifest: JSON with algorithm, public key and signature."""
        fields = {
            "algorithm": "ed25519",
            "public_key": base64.b64encode(_raw(self._public)).decode(),
            "signature": base64.b64encode(self._private.sign(message)).decode(),
        }
        return json.dumps(fields, sort_keys=True).encode()

    def verify(self, message: bytes, signature_file: bytes, *, what: str) -> None:
        """Raises ArchiveFailed when the signature is malformed, does not hold, or is by a key not trusted here."""
        try:
            fields = json.loads(signature_file)
            raw, signature = base64.b64decode(fields["public_key"]), base64.b64decode(fields["signature"])
            public = Ed25519PublicKey.from_public_bytes(raw)
        except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
            raise ArchiveFailed(f"{what}: its signature file is damaged", hint="don't restore it") from error
        if raw not in {_raw(key) for key in (self._public, *self._trusted())}:
            raise ArchiveFailed(
                f"{what} is signed by key {key_id(public)}, which is not trusted here",
                hint=f"if you know it, put its .pub file into {self._trusted_directory}; else don't restore it",
            )
        try:
            public.verify(signature, message)
        except InvalidSignature:
            raise ArchiveFailed(
                f"{what}: the manifest does not match its signature: it was changed", hint="don't restore it"
            ) from None

    def _trusted(self) -> list[Ed25519PublicKey]:
        keys: list[Ed25519PublicKey] = []
        for path in sorted(self._trusted_directory.glob("*.pub")):
            try:
                key = serialization.load_pem_public_key(path.read_bytes())
            except (OSError, ValueError) as error:
                raise BadInput(f"trusted key {path} can't be read: {error}", hint="remove or replace it") from error
            if isinstance(key, Ed25519PublicKey):
                keys.append(key)
        return keys


class Cipher:
    """AES-256-GCM over single chunks. `context` binds a chunk to its place, so that chunks can't be swapped."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self.key_id = hashlib.sha256(b"lifeboat archive key" + key).hexdigest()[:16]

    @classmethod
    def load(cls, path: Path) -> Cipher:
        """A key file of 32 bytes, or of 64 hex digits. Raises BadInput."""
        _require_private(path)
        content = path.read_bytes()
        if len(content) != 32:
            with suppress(ValueError):
                content = bytes.fromhex(content.decode("ascii", "replace").strip())
        if len(content) != 32:
            raise BadInput(
                f"archive key {path}: expected 32 bytes or 64 hex digits",
                hint=f"make one: openssl rand -hex 32 > {path}",
            )
        return cls(content)

    def seal(self, plain: bytes, context: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises ArchiveFailed when it was changed, moved or sealed with another key."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError) as error:
            raise ArchiveFailed(f"{context} can't be decrypted with this key", hint="check archive_key_file") from error


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _load_or_create(path: Path) -> Ed25519PrivateKey:
    try:
        if not path.exists():
            _create(path)
        _require_private(path)
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"signing key {path}: {error}", hint="check the directory `state_dir` and its rights") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"signing key {path} is not an Ed25519 key", hint="move it away; a new one is made")
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another lifeboat was faster: its key is the one
            os.link(draft, path)
            public = key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            path.with_suffix(".pub").write_bytes(public)
    finally:
        draft.unlink()


def _require_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadInput(f"key file {path}: {error.strerror}", hint="give the path of a readable file") from error
    others = 0o037 if is_credential(path) else 0o077
    if stat.S_IMODE(mode) & others:
        raise BadInput(
            f"key file {path} can be read by others (mode {stat.S_IMODE(mode):04o})", hint=f"chmod 600 {path}"
        )
