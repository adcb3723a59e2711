"""What of the libvirt adapter needs no libvirt to answer: URIs, silence, flags, and reading its statistics."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

libvirt = pytest.importorskip("libvirt")

from models.errors import BadInput, NodeUnreachable, PrecheckFailed  # noqa: E402 — after the skip
from tools.libvirt.migration.migration_job import (  # noqa: E402
    Peer,
    migration_flags,
    migration_parameters,
    read_progress,
    read_statistics,
    require_compression,
)
from tools.libvirt.node import LibvirtNode  # noqa: E402
from tools.ports.migration import MigrationOptions  # noqa: E402
from tools.ports.shared_storage import SharedStorage  # noqa: E402


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody accepts, and never says a word: a hung libvirtd."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        held: list[socket.socket] = []
        accepting = threading.Event()

        def accept() -> None:
            accepting.set()
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        accepting.wait()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    "uri", ["", "node-a", "http://node-a/system", "qemu+tls://node-a/", "xen:///system", "qemu:///x"]
)
def test_a_uri_that_is_none_is_bad_input(uri: str):
    if uri == "qemu+tls://node-a/":
        LibvirtNode("node-a", uri)  # libvirt asks the node which one it means
        return
    with pytest.raises(BadInput, match="node-a: libvirt_uri"):
        LibvirtNode("node-a", uri)


def test_missing_certificates_are_bad_input(tmp_path: Path):
    with pytest.raises(BadInput, match=r"cacert\.pem can't be read"):
        LibvirtNode("node-a", f"qemu+tls://node-a/system?pkipath={tmp_path}")


def test_a_refused_connection_is_unreachable_at_once(capfd: pytest.CaptureFixture[str]):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    node = LibvirtNode("node-a", f"qemu+tls://127.0.0.1:{port}/system", connect_seconds=60.0)
    started = time.monotonic()
    with pytest.raises(NodeUnreachable, match="Connection refused") as caught:
        node.observe("00000000-0000-4000-8000-000000000001")
    assert time.monotonic() - started < 30
    assert "may still be running" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "libvirt prints nothing by itself"


def test_a_hung_daemon_is_unreachable_within_the_limit(silent_port: int):
    node = LibvirtNode("node-a", f"qemu+tcp://127.0.0.1:{silent_port}/system", connect_seconds=1.0)
    for _ in range(2):  # the second time, the first attempt still hangs
        started = time.monotonic()
        with pytest.raises(NodeUnreachable, match="node-a"):
            node.vms()
        assert time.monotonic() - started < 15, "it would hang for ever"


def test_tls_is_asked_of_nobody_who_speaks_something_else(silent_port: int):
    with pytest.raises(PrecheckFailed, match="which is not TLS"):
        LibvirtNode("node-a", f"qemu+tcp://127.0.0.1:{silent_port}/system").tls_fingerprint()


def options(**changed: object) -> MigrationOptions:
    plain: dict[str, object] = {
        "tls": False,
        "max_downtime_seconds": 0.3,
        "timeout_seconds": 60.0,
        "auto_converge": False,
        "post_copy": False,
        "parallel_connections": 0,
        "bandwidth_bytes_per_second": None,
        "copy_disks": (),
    }
    return MigrationOptions(**(plain | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "shared", "adds"),
    [
        ({}, False, 0),
        ({"tls": True}, False, libvirt.VIR_MIGRATE_TLS),
        ({"auto_converge": True}, False, libvirt.VIR_MIGRATE_AUTO_CONVERGE),
        ({"post_copy": True}, False, libvirt.VIR_MIGRATE_POSTCOPY),
        ({"parallel_connections": 4}, False, libvirt.VIR_MIGRATE_PARALLEL),
        ({"compression": "xbzrle"}, False, libvirt.VIR_MIGRATE_COMPRESSED),
        ({"copy_disks": ("vda",)}, False, libvirt.VIR_MIGRATE_NON_SHARED_DISK),
        ({}, True, libvirt.VIR_MIGRATE_UNSAFE),
    ],
)
def test_flags_are_those_of_the_options_and_the_source_is_let_go_only_by_libvirt(
    changed: dict[str, object], shared: bool, adds: int
):
    always = migration_flags(options(), declared_shared=False)
    assert always & libvirt.VIR_MIGRATE_PEER2PEER
    assert always & libvirt.VIR_MIGRATE_PERSIST_DEST
    assert always & libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    assert migration_flags(options(**changed), declared_shared=shared) == always | adds


def test_parameters():
    peer = Peer("qemu+tls://10.0.0.2/system")
    assert migration_parameters(options(), peer) == {"migrate_uri": "tcp://10.0.0.2"}
    assert migration_parameters(options(), Peer("qemu+tls://node-b/system", "fd00::2")) == {
        "migrate_uri": "tcp://[fd00::2]"
    }
    full = options(
        bandwidth_bytes_per_second=100_000, parallel_connections=2, copy_disks=("vda", "vdb"), compression="zstd"
    )
    assert migration_parameters(full, peer) == {
        "migrate_uri": "tcp://10.0.0.2",
        "bandwidth": 1,
        "parallel.connections": 2,
        "compression": ["zstd"],
        "migrate_disks": ["vda", "vdb"],
    }


def test_a_compression_that_this_libvirt_does_not_know_is_bad_input_before_anything_is_sent():
    zstd = options(compression="zstd", parallel_connections=2)
    with pytest.raises(BadInput, match=r"libvirt 9\.0\.0, which can't compress a migration with zstd"):
        require_compression(9_000_000, zstd, "node-a")
    require_compression(9_004_000, zstd, "node-a")
    require_compression(9_000_000, options(compression="xbzrle"), "node-a")


def test_statistics_are_read_in_libvirts_units():
    running = {
        "type": libvirt.VIR_DOMAIN_JOB_UNBOUNDED, "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
        "time_elapsed": 2500, "memory_total": 1000, "memory_processed": 400, "memory_remaining": 600,
        "memory_dirty_rate": 10, "auto_converge_throttle": 30, "memory_page_size": 4096, "memory_bps": 50, "memory_iteration": 2,
        "disk_total": 100, "disk_processed": 10, "disk_remaining": 90, "disk_bps": 5,
    }  # fmt: skip
    progress = read_progress(running)
    assert progress is not None
    assert (progress.elapsed_seconds, progress.bytes_total, progress.bytes_processed, progress.bytes_remaining) == (
        2.5, 1100, 410, 690,
    )  # fmt: skip
    assert (progress.dirty_bytes_per_second, progress.bytes_per_second, progress.iteration) == (40960.0, 55.0, 2)
    assert (progress.throttle, progress.post_copy) == (0.3, False)
    assert read_progress({}) is None
    assert read_progress({"type": libvirt.VIR_DOMAIN_JOB_NONE}) is None
    assert read_statistics(running) is None, "not over yet"

    over = running | {"type": libvirt.VIR_DOMAIN_JOB_COMPLETED, "downtime": 168}
    statistics = read_statistics(over)
    assert statistics is not None
    assert (statistics.total_seconds, statistics.downtime_seconds, statistics.bytes_transferred) == (2.5, 0.168, 410)
    assert read_statistics(over | {"operation": libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE}) is None
    bare = read_statistics({"type": libvirt.VIR_DOMAIN_JOB_COMPLETED, "operation": over["operation"]})
    assert bare is not None
    assert bare.downtime_seconds is None, "not measured is not zero"


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/srv/nfs/a.qcow2", True),
        ("/srv/nfs/deep/a.raw", True),
        ("/srv/nfs2/a.raw", False),
        ("nbd://h/srv/nfs/a", False),
    ],
)
def test_only_what_lies_under_a_declared_directory_is_declared_shared(path: str, shared: bool):
    assert SharedStorage(paths=("/srv/nfs",)).declares(path) is shared
