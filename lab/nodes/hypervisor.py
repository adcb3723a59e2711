"""A node's libvirtd, its storage pools, and the storage server that all nodes share."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from lab.nodes import certificates, processes
from lab.nodes.node import Lab, LabNode, run, wait_until
from lab.nodes.processes import ProcessRef
from models.errors import LabError

TLS_PORT = 16514
NBD_PORT = 10809
LOCAL_POOL = Path("/var/lib/libvirt/local")  # the same path in every node, another directory behind it

_LIBVIRTD_CONF = """\
listen_tls = 1
listen_tcp = 0
listen_addr = "{address}"
tls_port = "{port}"
auth_tls = "none"
auth_unix_rw = "none"
host_uuid = "{host_uuid}"
log_outputs = "2:stderr"
log_filters = "3:util.dbus 3:util.systemd"
"""

# No security driver, cgroups or remembered owners: the lab's files belong to it alone, and the machine's own
# cgroups and extended attributes are not the lab's to write.
_QEMU_CONF = """\
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
remember_owner = 0
dynamic_ownership = 0
stdio_handler = "file"
user = "root"
group = "root"
migration_address = "0.0.0.0"
migration_host = "{name}"
default_tls_x509_cert_dir = "/etc/pki/qemu"
default_tls_x509_verify = 1
migrate_tls_x509_cert_dir = "/etc/pki/qemu"
migrate_tls_x509_verify = 1
"""


def uri(lab: Lab, node: str, *, pkipath: bool = True) -> str:
    """libvirt URI of a node. With `pkipath` it works from the root namespace, without it between nodes."""
    address = lab.node(node).address
    query = f"?pkipath={certificates.client_directory(lab)}" if pkipath else ""
    return f"qemu+tls://{address}/system{query}"


def virsh(lab: Lab, node: str, *argv: str, timeout: float = 60, check: bool = True) -> str:
    """Run virsh on a node over TLS, as lifeboat reaches it. Raises LabError with libvirt's words."""
    command = ["virsh", "--quiet", "--connect", uri(lab, node), *argv]
    return run(command, where=node, timeout=timeout, check=check).stdout


def host_uuid(lab: Lab, node: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"lifeboat-lab/{lab.name}/{node}")


def start_libvirtd(lab: Lab, node: LabNode) -> None:
    """Write the node's configuration and start libvirtd in it. Does not wait; see wait_ready."""
    etc = node.run_dir / "fs/etc/libvirt"
    (etc / "libvirtd.conf").write_text(
        _LIBVIRTD_CONF.format(address=node.address, port=TLS_PORT, host_uuid=host_uuid(lab, node.name))
    )
    (etc / "qemu.conf").write_text(_QEMU_CONF.format(name=node.name))
    for made in ("lib/libvirt/local", "log/libvirt/qemu"):
        (node.run_dir / "fs/var" / made).mkdir(parents=True, exist_ok=True)
    node.spawn(["libvirtd", "--listen", "--config", "/etc/libvirt/libvirtd.conf"], log="log/libvirtd.log")


def wait_ready(lab: Lab, node: LabNode, seconds: float = 60) -> None:
    """Wait until libvirt answers over TLS. Raises LabError with the end of its log."""

    def answers() -> bool:
        return run(["virsh", "-q", "-c", uri(lab, node.name), "version"], check=False).returncode == 0

    try:
        wait_until(answers, seconds=seconds, what=f"{node.name}: libvirtd answering on {node.address}:{TLS_PORT}")
    except LabError as error:
        raise LabError(str(error), hint=processes.tail(node.run_dir / "log/libvirtd.log")) from None


def probe_emulator(lab: Lab, node: LabNode, emulator: Path) -> None:
    """Let libvirtd find out now what an emulator can do, rather than when the first guest is defined with it."""
    virsh(lab, node.name, "domcapabilities", "--virttype", "qemu", "--emulatorbin", str(emulator))


def copy_capabilities(source: LabNode, target: LabNode) -> None:
    """Give a node what libvirtd found out about QEMU on another one, so that it need not probe for seconds again."""
    cache = "fs/var/cache/libvirt"
    shutil.copytree(source.run_dir / cache, target.run_dir / cache, dirs_exist_ok=True)


def shared_pool(lab: Lab) -> Path:
    """The directory behind the pool `shared`, at the same path in every node and outside."""
    return lab.root / "shared"


def create_pools(lab: Lab, node: LabNode) -> None:
    """Define and start the pools `shared` (one directory, all nodes) and `local` (the node's own)."""
    for name, path in (("shared", shared_pool(lab)), ("local", LOCAL_POOL)):
        xml = node.run_dir / f"pool-{name}.xml"
        xml.write_text(f"<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>\n")
        virsh(lab, node.name, f"pool-define {xml}; pool-start {name}; pool-autostart {name}")


def local_path(node: LabNode, file: str) -> Path:
    """Where a file of the node's pool `local` is, seen from outside the node."""
    return node.run_dir / "fs" / LOCAL_POOL.relative_to("/") / file


def start_storage_server(lab: Lab, disks: Sequence[tuple[str, Path]]) -> None:
    """Serve raw files of the shared pool over NBD to all nodes: the lab's shared storage.

    libvirt refuses to live-migrate a guest whose disk is a file on a local file system (all of the lab's are), and
    rightly takes a network disk for shared. So guests on shared storage reach it as on Ceph or iSCSI: over the
    network, from one server that both ends of a migration talk to."""
    argv = [
        "qemu-storage-daemon",
        "--nbd-server", f"addr.type=inet,addr.host={lab.gateway},addr.port={NBD_PORT},max-connections=0",
    ]  # fmt: skip
    for name, path in disks:
        file = {"driver": "file", "filename": str(path), "node-name": f"{name}-file", "cache": {"direct": True}}
        disk = {"driver": "raw", "file": f"{name}-file", "node-name": name, "cache": {"direct": True}}
        export = {"type": "nbd", "id": name, "node-name": name, "name": name, "writable": True}
        argv += ["--blockdev", json.dumps(file), "--blockdev", json.dumps(disk), "--export", json.dumps(export)]
    pid = lab.spawn(argv, log="storage.log")
    ref = ProcessRef.of(pid)

    def listening() -> bool:
        if ref is None or not ref.alive():
            raise LabError("the storage server ended", hint=processes.tail(lab.root / "storage.log"))
        return run(["qemu-img", "info", f"nbd://{lab.gateway}:{NBD_PORT}/{disks[0][0]}"], check=False).returncode == 0

    wait_until(listening, seconds=60, what=f"storage server on {lab.gateway}:{NBD_PORT}")
