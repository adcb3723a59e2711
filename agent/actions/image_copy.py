"""Images on their way onto a node: made, written, read back and compared. What a cold move and a restore share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from agent.actions.made_files import MadeFiles
from models.errors import ArchiveFailed, PrecheckFailed
from tools.domain.files import ONLY_READ_ROLES
from tools.ports.archives import ImageFile
from tools.ports.storage import Storage


def image_sha256(node: Storage, path: str, check: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """Length and SHA-256 of an image as it lies there. `check` is called with every chunk and may raise."""
    digest, length = hashlib.sha256(), 0
    for chunk in node.read_disk(path):
        check()
        digest.update(chunk)
        length += len(chunk)
    return length, digest.hexdigest()


def already_there(node: Storage, image: ImageFile, sha256: Callable[[], str], *, its_own: bool = False) -> bool:
    """Whether the very same image is on the node already: it is used then. One below a disk is never written to, whoever
    else has it; a disk must be `its_own`.

    `sha256` is that of the one that would be put there. Raises PrecheckFailed when another one is there.
    """
    if not node.disk_exists(image.path):
        return False
    compared = its_own or image.role in ONLY_READ_ROLES
    if compared and image_sha256(node, image.path)[1] == sha256():
        return True
    raise PrecheckFailed(
        f"disk {image.path} exists on node {node.name} already{' with other content' if compared else ''}",
        hint="find out whose it is; nothing was overwritten",
    )


def put_image(
    files: MadeFiles,
    node: Storage,
    image: ImageFile,
    chunks: Iterator[bytes],
    *,
    verifying: Callable[[], None] = lambda: None,
) -> int:
    """Make an image on the node, write it and read it back; its length.

    `files` has it from the moment it is there; `verifying` is called once it is written. Raises PrecheckFailed when it
    can't be made, ArchiveFailed when it can't be written or reads back otherwise.
    """
    files.create_disk(
        node, image.path, format=image.format, virtual_bytes=image.virtual_bytes, needed_bytes=image.needed_bytes
    )
    sent, length = hashlib.sha256(), 0

    def counted() -> Iterator[bytes]:
        nonlocal length
        for chunk in chunks:
            sent.update(chunk)
            length += len(chunk)
            yield chunk

    node.write_disk(image.path, counted())
    verifying()
    received, left = hashlib.sha256(), length
    for chunk in node.read_disk(image.path):
        received.update(chunk[:left])  # a block device may be longer than the image on it
        left -= min(left, len(chunk))
    if left or received.digest() != sent.digest():
        raise ArchiveFailed(
            f"image {image.path} at {node.name} reads back otherwise than it was written",
            hint="check the storage behind the target",
        )
    return length
