"""Secrets that requests are signed with, from their files."""

from __future__ import annotations

from pathlib import Path

from models.errors import BadInput

LEAST_BYTES = 32


def read_secret(path: Path, *, what: str, hint: str) -> bytes:
    """Raises BadInput, saying `what` it is and `hint`, for a file that can't be read or holds too little."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise BadInput(f"{what} {path} can't be read: {error.strerror}", hint="see docs/approval.md") from error
    if len(secret) < LEAST_BYTES:
        raise BadInput(f"{what} {path}: expected {LEAST_BYTES} bytes or more, found {len(secret)}", hint=hint)
    return secret


def read_signing_secret(path: Path) -> bytes:
    """Of a Slack app. Raises as `read_secret`."""
    return read_secret(
        path, what="slack.signing_secret_file", hint="the app's Basic Information page has it: 32 hex digits"
    )
