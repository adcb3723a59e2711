"""Whether the files of secrets hold what they are for. No secret is in any message."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from models.errors import BadInput
from tools.secret_files import read_line, read_secret, read_signing_secret, read_token


def why_no_secret(field: str, file: Path) -> str | None:
    """Why `file`, which `field` names (`webhook.keys.ops`), can't be the secret it should be; None: it can, or it is none."""
    read = _readers().get(field) or _readers().get(field.rpartition(".")[2])
    if field.startswith("webhook.keys."):
        read = partial(read_secret, what="webhook key file", hint="openssl rand -hex 32")
    try:
        if read is not None:
            read(file)
    except BadInput as error:
        return f"{error.message} — {error.hint}"
    return None


def _readers() -> dict[str, Callable[[Path], object]]:
    """By field, or the last part of its name."""
    token = partial(read_token, what="slack token file")
    return {
        "slack.bot_token_file": partial(token, starts_with="xoxb-"),
        "slack.app_token_file": partial(token, starts_with="xapp-"),
        "slack.signing_secret_file": read_signing_secret,
        "api_key_file": partial(read_token, what="the language model's key file"),
        "password_file": partial(read_line, what="BMC password file"),
        "archive_key_file": _archive_key,
        "forecast.trusted_key": _public_key,
        "forecast.sign_key": _private_key,
    }


def _archive_key(file: Path) -> None:
    from tools.archive.signing import Cipher

    Cipher.load(file)


def _public_key(file: Path) -> None:
    from tools.forecast.keys import read_public_key

    read_public_key(file)


def _private_key(file: Path) -> None:
    from tools.forecast.keys import read_private_key

    read_private_key(file)
