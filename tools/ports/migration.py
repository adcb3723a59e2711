"""What a live migration is told, and what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass

IoLimits = dict[str, dict[str, int]]
"""limits on a vm's disks: device → libvirt's name of the limit, such as `total_bytes_sec` → figure, 0 for none"""


@dataclass(frozen=True, kw_only=True)
class MigrationOptions:
    """How one live migration is done."""

    tls: bool
    max_downtime_seconds: float
    """QEMU's limit, to begin with: for the last round of memory alone, by the bandwidth it measured just before"""
    timeout_seconds: float
    """after this it is aborted; the vm stays on the source. Not in post-copy: there is no way back then"""
    auto_converge: bool
    post_copy: bool
    """`start_post_copy` may be called while it runs"""
    parallel_connections: int
    """0: one stream"""
    bandwidth_bytes_per_second: int | None
    copy_disks: tuple[str, ...]
    """devices of non-shared disks that move along"""
    abort_on_io_error: bool = True
    """a guest whose disks fail it on the way, or did before, does not move"""
    compression: str = "none"
    """`none`, `xbzrle` (one stream), `zlib` or `zstd` (parallel connections)"""


@dataclass(frozen=True, kw_only=True)
class MigrationStatistics:
    """What libvirt measured, from whichever end still has the figures. None: neither end had it."""

    total_seconds: float | None
    downtime_seconds: float | None
    bytes_transferred: int | None
    iterations: int | None
