"""What a vm has beside its disks: UEFI variables, the state of an emulated TPM, and what libvirt knows of snapshots.

libvirt has no call that reads or writes the files of the first two. A storage pool over their directory has: where none
is there already, a transient one is made for as long as it takes. It leaves nothing behind but, after a crash of
lifeboat, a running pool named lifeboat-… that is used again and that goes when libvirtd restarts.
"""

from __future__ import annotations

import hashlib
import threading
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath

import libvirt

from models.errors import PrecheckFailed
from tools.domain.xml import Domain
from tools.libvirt.connection import one_line
from tools.libvirt.on_disk.volumes import list_pools
from tools.ports.vms import ImageRole, StateFile

_MAX_BYTES = 128 << 20
"""more than firmware's variables, TPM state or a kernel with its initrd take; what is larger is something else"""
_POOL_PREFIX = "lifeboat-"
_DIRECTORY_MODE = "0711"
_TPM_STATE = "/var/lib/libvirt/swtpm"
"""where a system libvirtd keeps it; no answer of libvirt's tells"""

_pools_in_use: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""by node: a pool is taken away once it was used, and not while another vm's file is read through it"""


def read_state_files(connection: libvirt.virConnect, node: str, domain: Domain) -> tuple[StateFile, ...]:
    """Raises PrecheckFailed when something is there that can't be read whole."""
    files: list[StateFile] = []
    if domain.nvram is not None:
        files.append(_read(connection, node, ImageRole.NVRAM, domain.nvram, f"UEFI variables of vm {domain.name}"))
    if domain.tpm:
        files += _read_tpm(connection, node, domain)
    return tuple(files)


def read_boot_files(
    connection: libvirt.virConnect, node: str, name: str, paths: Sequence[str]
) -> tuple[StateFile, ...]:
    """Raises PrecheckFailed when one can't be read whole."""
    what, hint = f"what vm {name} boots from", "put it there, or let the vm boot from its disks"
    return tuple(_read(connection, node, ImageRole.BOOT, path, what, hint=hint) for path in paths)


def write_state_file(connection: libvirt.virConnect, node: str, file: StateFile) -> bool:
    """False when the same is there already. Raises PrecheckFailed when another is, or it can't be written."""
    what = f"{file.path} on node {node}"
    with _pool_over(connection, node, str(PurePosixPath(file.path).parent), make_directory=True) as pool:
        present = _volume(pool, file.path)
        if present is not None:
            if _download(connection, present, what) == file.content:
                return False
            raise PrecheckFailed(
                f"{what} is there already with other content", hint="find out whose it is; nothing was overwritten"
            )
        root = ET.Element("volume")
        ET.SubElement(root, "name").text = PurePosixPath(file.path).name
        ET.SubElement(root, "capacity", unit="bytes").text = str(len(file.content))
        target = ET.SubElement(root, "target")
        ET.SubElement(target, "format", type="raw")
        permissions = ET.SubElement(target, "permissions")
        for tag, value in (("mode", f"0{file.mode:o}"), ("owner", str(file.owner)), ("group", str(file.group))):
            ET.SubElement(permissions, tag).text = value
        volume = pool.createXML(ET.tostring(root, encoding="unicode"), 0)
        try:
            stream = connection.newStream(0)
            volume.upload(stream, 0, len(file.content), 0)
            rest = memoryview(file.content)
            while rest:
                rest = rest[stream.send(bytes(rest[: 256 << 10])) :]
            stream.finish()
            if _download(connection, volume, what) != file.content:
                raise PrecheckFailed(f"{what} reads back otherwise than it was written", hint="check the file system")
        except BaseException:
            with suppress(libvirt.libvirtError):
                volume.delete(0)
            raise
        return True


def delete_state_file(connection: libvirt.virConnect, node: str, path: str) -> None:
    directory = str(PurePosixPath(path).parent)
    with suppress(PrecheckFailed), _pool_over(connection, node, directory) as pool:
        volume = _volume(pool, path)
        if volume is not None:
            volume.delete(0)


def read_state_file(connection: libvirt.virConnect, node: str, path: str) -> bytes | None:
    """None when it is not there. Raises PrecheckFailed when it can't be read whole."""
    with _pool_over(connection, node, str(PurePosixPath(path).parent)) as pool:
        volume = _volume(pool, path)
        return None if volume is None else _download(connection, volume, f"{path} on node {node}")


def wipe_state_file(connection: libvirt.virConnect, node: str, path: str) -> bool:
    """Overwrite with zeros. False when it is not there."""
    with _pool_over(connection, node, str(PurePosixPath(path).parent)) as pool:
        volume = _volume(pool, path)
        if volume is None:
            return False
        length = len(_download(connection, volume, path))
        stream = connection.newStream(0)
        volume.upload(stream, 0, length, 0)
        sent = 0
        while sent < length:
            sent += stream.send(bytes(min(256 << 10, length - sent)))
        stream.finish()
        return True


def read_snapshots(domain: libvirt.virDomain) -> tuple[str, ...]:
    """XML of each, parents first, the current one marked `<active>1</active>`, as `--redefine` of virsh wants it."""
    snapshots: list[str] = []
    for snapshot in domain.listAllSnapshots(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL):
        root = ET.fromstring(snapshot.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE))  # noqa: S314 — libvirt's
        for old in root.findall("active"):
            root.remove(old)
        ET.SubElement(root, "active").text = "1" if snapshot.isCurrent(0) == 1 else "0"
        snapshots.append(ET.tostring(root, encoding="unicode"))
    return tuple(snapshots)


def restore_snapshots(domain: libvirt.virDomain, snapshots: tuple[str, ...]) -> None:
    for xml in snapshots:
        root = ET.fromstring(xml)  # noqa: S314 — from libvirt, or from an archive whose signature held
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
        if root.findtext("active") == "1":
            flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT
        if root.findtext("state") == "disk-snapshot":
            flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
        domain.snapshotCreateXML(xml, flags)


def read_checkpoints(domain: libvirt.virDomain) -> tuple[str, ...]:
    """XML of each, parents first, without the definition of its time."""
    listed = domain.listAllCheckpoints(libvirt.VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL)
    return tuple(each.getXMLDesc(libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN) for each in listed)


def restore_checkpoints(domain: libvirt.virDomain, checkpoints: tuple[str, ...]) -> None:
    there = {each.getName() for each in domain.listAllCheckpoints(0)}
    flags = libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE
    if domain.isActive():  # QEMU can tell whether the bitmaps are there
        flags |= libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE
    for xml in checkpoints:
        if ET.fromstring(xml).findtext("name") not in there:  # noqa: S314 — from libvirt, or from a signed archive
            domain.checkpointCreateXML(xml, flags)


def _read_tpm(connection: libvirt.virConnect, node: str, domain: Domain) -> list[StateFile]:
    what = f"TPM state of vm {domain.name}"
    if not domain.tpm_emulated:
        raise PrecheckFailed(f"{what} is in the TPM of node {node} itself", hint="it can't leave; stop the vm by hand")
    for directory in _tpm_directories(domain):
        try:
            with _pool_over(connection, node, directory) as pool:
                # its lock file is made anew whenever swtpm starts
                paths = [v.path() for v in pool.listAllVolumes(0) if not v.name().startswith(".")]
        except PrecheckFailed:
            continue
        paths = [path for path in paths if domain.tpm_file in (None, path)]
        if paths:
            return [_read(connection, node, ImageRole.TPM, path, what) for path in sorted(paths)]
    places = ", ".join(_tpm_directories(domain))
    raise PrecheckFailed(
        f"{what}: not found under {places} on node {node}, so it can't be copied",
        hint="a vm that never ran has none yet: start it once; else let it move live",
    )


def _tpm_directories(domain: Domain) -> tuple[str, ...]:
    """Where its definition says, else where libvirt keeps it, by version."""
    if domain.tpm_file is not None:
        return (str(PurePosixPath(domain.tpm_file).parent),)
    if domain.tpm_directory is not None:
        return (domain.tpm_directory,)
    return tuple(f"{_TPM_STATE}/{domain.uuid}/{version}" for version in ("tpm2", "tpm1.2"))


def _read(
    connection: libvirt.virConnect,
    node: str,
    role: ImageRole,
    path: str,
    what: str,
    *,
    hint: str = "libvirt makes it when the vm first starts; start it once, or let it move live",
) -> StateFile:
    with _pool_over(connection, node, str(PurePosixPath(path).parent)) as pool:
        volume = _volume(pool, path)
        if volume is None:
            raise PrecheckFailed(
                f"{what}: {path} is not there on node {node}",
                hint=hint,
            )
        permissions = ET.fromstring(volume.XMLDesc(0)).find("./target/permissions")  # noqa: S314 — libvirt's

        def number(tag: str, base: int = 10) -> int:
            return int(permissions.findtext(tag, "0"), base) if permissions is not None else 0

        return StateFile(
            role=role,
            path=path,
            content=_download(connection, volume, f"{what}: {path} on node {node}"),
            mode=number("mode", 8),
            owner=number("owner"),
            group=number("group"),
        )


def _download(connection: libvirt.virConnect, volume: libvirt.virStorageVol, what: str) -> bytes:
    content = bytearray()
    stream = connection.newStream(0)
    volume.download(stream, 0, 0, 0)
    while data := stream.recv(256 << 10):
        content += data
        if len(content) > _MAX_BYTES:
            stream.abort()
            raise PrecheckFailed(f"{what} is longer than {_MAX_BYTES} bytes", hint="look what it is")
    stream.finish()
    return bytes(content)


def _volume(pool: libvirt.virStoragePool, path: str) -> libvirt.virStorageVol | None:
    with suppress(libvirt.libvirtError):
        return pool.storageVolLookupByName(PurePosixPath(path).name)
    return None


@contextmanager
def _pool_over(
    connection: libvirt.virConnect, node: str, directory: str, *, make_directory: bool = False
) -> Generator[libvirt.virStoragePool]:
    """A storage pool whose volumes are the files of `directory`. Raises PrecheckFailed when there can be none."""
    with _pools_in_use[node]:
        pool = next(
            (connection.storagePoolLookupByName(p.name) for p in list_pools(connection) if p.target == directory), None
        )
        ours = pool is None or pool.name().startswith(_POOL_PREFIX)
        try:
            if pool is None:
                pool = _make_pool(connection, directory, make_directory=make_directory)
            pool.refresh(0)
        except libvirt.libvirtError as error:
            raise PrecheckFailed(
                f"node {node} gives no access to {directory}: {one_line(error)}",
                hint="define a storage pool of type dir over it, or let the vm move live",
            ) from error
        try:
            yield pool
        except libvirt.libvirtError as error:
            raise PrecheckFailed(
                f"node {node}, files in {directory}: {one_line(error)}", hint="check the directory and its rights"
            ) from error
        finally:
            if ours:
                with suppress(libvirt.libvirtError):
                    pool.destroy()


def _make_pool(connection: libvirt.virConnect, directory: str, *, make_directory: bool) -> libvirt.virStoragePool:
    root = ET.Element("pool", type="dir")
    ET.SubElement(root, "name").text = _POOL_PREFIX + hashlib.sha256(directory.encode()).hexdigest()[:12]
    target = ET.SubElement(root, "target")
    ET.SubElement(target, "path").text = directory
    ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = _DIRECTORY_MODE
    xml = ET.tostring(root, encoding="unicode")
    try:
        return connection.storagePoolCreateXML(xml, 0)
    except libvirt.libvirtError:
        if not make_directory:
            raise
        # only for a directory that is not there: building would change the mode of one that is
        return connection.storagePoolCreateXML(xml, libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
