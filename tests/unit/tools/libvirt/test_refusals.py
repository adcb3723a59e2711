"""Which of libvirt's and QEMU's answers come back whenever the same is tried again."""

from __future__ import annotations

import pytest

libvirt = pytest.importorskip("libvirt")

from models.errors import Lasting  # noqa: E402
from tools.libvirt.refusals import how_long  # noqa: E402

INVALID, INTERNAL, FAILED = (
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_INTERNAL_ERROR,
    libvirt.VIR_ERR_OPERATION_FAILED,
)
OF_THE_GUEST = [
    (INVALID, "Requested operation is not valid: cannot migrate domain with 2 snapshots"),
    (INVALID, "Requested operation is not valid: cannot migrate domain: virgl is not yet migratable"),
    (INVALID, "Requested operation is not valid: domain has 'invtsc' CPU feature but TSC frequency is not specified"),
    (INVALID, "shmem device 'peer' cannot be migrated, only shmem with role='master' can be migrated"),
    (INVALID, "migration with virtiofs device is not supported"),
    (INVALID, "a slirp-helper cannot be migrated"),
    (INTERNAL, "unable to execute QEMU command 'migrate': State blocked by non-migratable device '0000:00:06.0/nvme'"),
    (
        INTERNAL,
        "unable to execute QEMU command 'migrate': Migration is disabled when VirtFS export path '/srv' is mounted",
    ),
    (INTERNAL, "unable to execute QEMU command 'migrate': Migration disabled: vhost-user backend lacks a feature"),
    (libvirt.VIR_ERR_MIGRATE_UNSAFE, "Unsafe migration: Migration without shared storage is unsafe"),
    (libvirt.VIR_ERR_OPERATION_UNSUPPORTED, "cannot migrate a domain with <hostdev mode='subsystem' type='scsi'>"),
]
OF_THE_TARGET = [
    (libvirt.VIR_ERR_CPU_INCOMPATIBLE, "the CPU is incompatible with host CPU: missing features: avx512f"),
    (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "unsupported configuration: machine type 'pc-q35-9.1' is not there"),
    (FAILED, "operation failed: guest CPU doesn't match specification: missing features: pcid"),
]
PASSING = [
    (INVALID, "Requested operation is not valid: domain is not running"),
    (INVALID, "Requested operation is not valid: domain has active block job"),
    (INVALID, "cannot migrate domain with I/O error"),
    (INVALID, "another migration job is already running for domain 'web'"),
    (FAILED, "operation failed: migration of disk vda failed: Connection reset by peer"),
    (FAILED, "operation failed: job 'migration out' unexpectedly failed"),
    (libvirt.VIR_ERR_OPERATION_ABORTED, "operation aborted: migration out job: canceled by client"),
    (libvirt.VIR_ERR_SYSTEM_ERROR, "unable to connect to server at 'node-b:16514': Connection refused"),
    (libvirt.VIR_ERR_OPERATION_TIMEOUT, "cannot acquire state change lock (held by monitor=remoteDispatchDomain)"),
    (INTERNAL, "unable to execute QEMU command 'migrate': Failed to get \"write\" lock"),
    (INTERNAL, "QEMU unexpectedly closed the monitor"),
]


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        *((code, said, Lasting.EVERYWHERE) for code, said in OF_THE_GUEST),
        *((code, said, Lasting.AT_TARGET) for code, said in OF_THE_TARGET),
        *((code, said, None) for code, said in PASSING),
    ],
)
def test_only_what_comes_back_is_taken_to_last(code: int, said: str, expected: Lasting | None):
    assert how_long(code, said) is expected
