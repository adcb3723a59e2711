"""Secrets in files of their own: what is around them, such as the end of the line, does not belong to them."""

from __future__ import annotations

from pathlib import Path

from models.errors import BadInput

LEAST_BYTES = 32
_ONE_LINE = "the file holds the secret and nothing else, in one line; the user that lifeboat runs as can read it"


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


def read_line(path: Path, *, what: str) -> str:
    """A password. Raises BadInput, saying `what` it is, for a file that can't be read, is no text, or holds no line or several.
    The secret is in no message."""
    try:
        line = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadInput(f"{what} {path} can't be read: {error.strerror}", hint=_ONE_LINE) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{what} {path} is no text", hint=_ONE_LINE) from error
    if not line:
        raise BadInput(f"{what} {path} is empty", hint=_ONE_LINE)
    if len(line.splitlines()) > 1:
        raise BadInput(f"{what} {path} holds {len(line.splitlines())} lines", hint=_ONE_LINE)
    return line


def read_token(path: Path, *, what: str, starts_with: str = "") -> str:
    """What goes into a header of HTTP: a token or a key. Raises as `read_line`, and for what no header carries or does not start
    as it should."""
    token = read_line(path, what=what)
    if not token.startswith(starts_with):
        raise BadInput(f"{what} {path}: expected a token that starts with {starts_with}", hint=_ONE_LINE)
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise BadInput(f"{what} {path}: expected a token, found more, or other characters", hint=_ONE_LINE)
    return token
