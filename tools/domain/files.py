"""Which files a vm consists of, in the order in which they have to be there, and what of it lies elsewhere. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from tools.ports.archives import ImageFile
from tools.ports.vms import ImageRole, StateFile, VmObservation

ONLY_READ_ROLES = (ImageRole.BACKING, ImageRole.MEDIUM)
"""files that no guest writes to: the very same may be at a target already, and is used then"""
NOT_ITS_OWN = (ImageRole.MEDIUM, ImageRole.BOOT)
"""files of the host that a vm reads: never wiped with it"""
STATE_ROLES = (ImageRole.NVRAM, ImageRole.TPM, ImageRole.BOOT)
"""small files beside the disks, read and written whole"""


def image_files(vm: VmObservation, *, shared: bool) -> list[ImageFile]:
    """Media, then disks and the images below them, each file once, those below first. Without `shared`,
    only what other nodes don't reach; media never otherwise: they outlive the node where they are."""
    found: dict[str, ImageFile] = {
        file.path: ImageFile(
            role=file.role,
            device=file.device,
            path=file.path,
            format=file.format,
            virtual_bytes=file.virtual_bytes,
            image_bytes=file.image_bytes,
            allocated_bytes=file.allocated_bytes,
        )
        for file in vm.only_read
        if file.role is ImageRole.MEDIUM and not file.shared
    }
    for disk in vm.disks:
        for below in reversed(disk.chain):
            if shared or not below.shared:
                found.setdefault(
                    below.path,
                    ImageFile(
                        role=ImageRole.BACKING,
                        device=disk.device,
                        path=below.path,
                        format=below.format,
                        virtual_bytes=below.virtual_bytes,
                        image_bytes=below.image_bytes,
                        backing=below.backing,
                        allocated_bytes=below.allocated_bytes,
                    ),
                )
        if shared or not disk.shared:
            found[disk.path] = ImageFile(
                role=ImageRole.DISK,
                device=disk.device,
                path=disk.path,
                format=disk.format,
                virtual_bytes=disk.virtual_bytes,
                image_bytes=disk.image_bytes,
                backing=disk.backing,
                allocated_bytes=disk.allocated_bytes,
            )
    return list(found.values())


def state_image(file: StateFile) -> ImageFile:
    """How a state file goes into an archive."""
    length = len(file.content)
    return ImageFile(
        role=file.role,
        device=str(file.role),
        path=file.path,
        format="raw",
        virtual_bytes=length,
        image_bytes=length,
        mode=file.mode,
        owner=file.owner,
        group=file.group,
    )


def state_file(image: ImageFile, content: bytes) -> StateFile:
    """And how it comes out again."""
    return StateFile(
        role=image.role,
        path=image.path,
        content=content,
        mode=image.mode or 0o600,
        owner=image.owner or 0,
        group=image.group or 0,
    )


def snapshot_files(snapshots: Sequence[str], images: Sequence[ImageFile]) -> tuple[str, ...]:
    """What snapshots have in files of their own, in words: memory images, and overlays that are not below a disk now."""
    known = {image.path for image in images}
    found: list[str] = []
    for xml in snapshots:
        root = ET.fromstring(xml)  # noqa: S314 — libvirt wrote it
        name = root.findtext("name", "")
        memory = root.find("memory[@snapshot='external']")
        if memory is not None and memory.get("file"):
            found.append(f"memory of snapshot {name} ({memory.get('file')})")
        for source in root.findall("./disks/disk[@snapshot='external']/source"):
            path = source.get("file") or source.get("dev") or source.get("name") or ""
            if path and path not in known:
                found.append(f"overlay of snapshot {name} ({path})")
    return tuple(dict.fromkeys(found))


def split(content: bytes, size: int = 4 << 20) -> list[bytes]:
    """In chunks, as `read_disk` gives an image."""
    return [content[start : start + size] for start in range(0, len(content), size)]
