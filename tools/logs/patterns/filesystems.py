"""Lines about arrays and file systems, smartd's and mdadm's.

Formats: drivers/md, fs/{ext4,jbd2,xfs,btrfs}, OpenZFS's zed and spa_misc.c, smartmontools' smartd.cpp, mdadm's Monitor.c.
"""

from __future__ import annotations

from models.risk.signal import Component, HardwareEventKind, PartClass, Severity
from tools.logs.patterns.table import Pattern, pattern

K, C, S, P = HardwareEventKind, Component, Severity, PartClass

ARRAYS: tuple[Pattern, ...] = (
    pattern(
        r"md/raid[\w:]*:(?P<part>md\d+): (?:Cannot continue operation|not enough operational|.*[Aa]ll "
        r"(?:mirrors|devices) (?:have )?failed)",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "md/raid:md5: Cannot continue operation (2/4 failed).",
        "md/raid10:md1: not enough operational mirrors.",
    ),
    pattern(
        r"md/raid[\w:]*:(?P<part>md\d+): (?:Disk failure on |Operation continuing on )|(?:Fail|DegradedArray) "
        r"event detected on md device /dev/(?P<part_mdadm>md\S+?),?(?:\s|$)",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "md/raid1:md0: Disk failure on sdb1, disabling device.",
        "md/raid10:md1: Disk failure on nvme0n1p2, disabling device.",
        "DegradedArray event detected on md device /dev/md0",
        "Fail event detected on md device /dev/md0, component device /dev/sdb1",
        cls=P.REDUNDANT,
    ),
    pattern(
        r"md/raid1?0?:(?P<part>md\d+): active with (?P<left>\d+) out of (?!(?P=left)\b)\d+",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "md/raid1:md0: active with 1 out of 2 mirrors",
        cls=P.REDUNDANT,
    ),
    pattern(
        r"device-mapper: (?:multipath: (?P<part>\d+:\d+): Failing path|raid: Device \d+ of raid\d+ has failed)",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "device-mapper: multipath: 253:3: Failing path 8:16.",
        cls=P.REDUNDANT,
    ),
    pattern(
        r"device-mapper: multipath: (?P<part>\d+:\d+): Reinstating path",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "device-mapper: multipath: 253:3: Reinstating path 8:16.",
        asserted=False,
        cls=P.REDUNDANT,
    ),
    pattern(
        r"EXT4-fs (?:error )?\((?:device )?(?P<part>[\w-]+)\):.*(?:Remounting filesystem read-only|Detected aborted journal)"
        r"|XFS \((?P<part_xfs>[\w-]+)\): (?!User initiated).*(?:log I/O error|Shutting down filesystem|[Ff]ilesystem "
        r"has been shut down|xfs_do_force_shutdown)"
        r"|BTRFS(?: info| error| critical)?[: ]*(?:error )?\(device (?P<part_btrfs>[\w-]+)(?::? state "
        r"\w+)?\).*(?:forced readonly|errno=-5|IO failure)"
        r"|Aborting journal on device (?P<part_jbd>[\w-]+?)-\d+\."
        r"|JBD2: Error -5 detected when updating journal superblock for (?P<part_sb>[\w-]+?)-\d+"
        r"|(?:FAT-fs|F2FS-fs) \((?P<part_other>[\w-]+)\): "
        r"Filesystem has been set read-only",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "EXT4-fs error (device sda1): ext4_journal_check_start:83: Detected aborted journal",
        "EXT4-fs (sda1): Remounting filesystem read-only",
        "XFS (sdb1): Log I/O Error Detected. Shutting down filesystem",
        "XFS (dm-3): Filesystem has been shut down due to log error (0x2).",
        "BTRFS: error (device sda2) in btrfs_commit_transaction:2494: errno=-5 IO failure (Error while writing out transaction)",
        "BTRFS info (device sda2): forced readonly",
        "BTRFS info (device dm-0 state EA): forced readonly",
        "Aborting journal on device sda1-8.",
    ),
    pattern(
        r"EXT4-fs error \(device (?P<part>[\w-]+)\): |XFS \((?P<part_xfs>[\w-]+)\): metadata I/O error",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "EXT4-fs error (device dm-1): ext4_find_entry:1463: inode #2: comm ls: reading directory lblock 0",
        'XFS (dm-2): metadata I/O error in "xfs_buf_ioend+0x1" at daddr 0x1 len 8 error 5',
    ),
    pattern(
        r"BTRFS (?:error|warning|critical) \(device (?P<part>[\w-]+)[^)]*\): (?:bdev \S+ errs: (?!wr "
        r"0, rd 0, flush 0, corrupt 0)|csum failed|corrupt leaf|.*csum failed)",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "BTRFS error (device sda1): bdev /dev/sda1 errs: wr 0, rd 12, flush 0, corrupt 0, gen 0",
    ),
    pattern(
        r"(?:Pool|pool)[ =]'?(?P<part>[\w.-]+)'? (?:has encountered an uncorrectable I/O failure|"
        r".*pool I/O.*suspended)|class=io_failure pool='?(?P<part_zed>[\w.-]+)'?",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "WARNING: Pool 'tank' has encountered an uncorrectable I/O failure and has been suspended.",
        "eid=14 class=io_failure pool='tank'",
    ),
    pattern(
        r"class=statechange pool='?[\w.-]+'? .*?vdev=(?P<part>\S+) .*state=(?:FAULTED|UNAVAIL|DEGRADED|REMOVED)"
        r"|class=(?:probe_failure|vdev\.\w+) pool='?[\w.-]+'?(?: .*?vdev=(?P<part_probe>\S+))?",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "eid=12 class=statechange pool='tank' vdev=sdc state=FAULTED",
        "eid=13 class=statechange pool='tank' vdev=sdc1 vdev_state=FAULTED",
        cls=P.REDUNDANT,
    ),
    pattern(
        r"class=(?:io|checksum|data|delay) pool='?[\w.-]+'?(?: .*?vdev=(?P<part>\S+))?",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "eid=9 class=checksum pool='tank' vdev=sdc algorithm=fletcher4",
        cls=P.REDUNDANT,
    ),
    pattern(
        r"class=statechange pool='?[\w.-]+'? .*?vdev=(?P<part>\S+) .*state=ONLINE",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "eid=15 class=statechange pool='tank' vdev=sdc state=ONLINE",
        asserted=False,
        cls=P.REDUNDANT,
    ),
)

_DEVICE = r"Device: /dev/(?P<part>[\w/-]+(?: \[(?:megaraid_disk|cciss_disk|3ware_disk|areca_disk#?)_?\w+\])?)[, ]"

SMARTD: tuple[Pattern, ...] = (
    pattern(
        rf"{_DEVICE}.*(?:FAILED SMART self-check|SMART Failure:|Failed SMART usage Attribute|Failed "
        rf"SMART prefailure)",
        K.DISK_SMART,
        C.STORAGE,
        S.CRITICAL,
        "Device: /dev/sda [SAT], FAILED SMART self-check. BACK UP DATA NOW!",
        "Device: /dev/sg2 [megaraid_disk_16], SMART Failure: HARDWARE IMPENDING FAILURE GENERAL HARD DRIVE FAILURE",
        "Device: /dev/sda, SMART Failure: FAILURE PREDICTION THRESHOLD EXCEEDED: ascq=0x0",
        "Device: /dev/sdb [SAT], Failed SMART usage Attribute: 184 End-to-End_Error.",
    ),
    # Byte 0 of an NVMe drive's health log (NVM Express base, 5.14.1.2): each bit but the one for heat says that the drive
    # fails or loses data.
    pattern(
        rf"{_DEVICE}.*Critical Warning \(0x(?!0?2\b)[0-9a-f]+\)",
        K.DISK_SMART,
        C.STORAGE,
        S.CRITICAL,
        "Device: /dev/nvme0, Critical Warning (0x04): reliability",
        "Device: /dev/nvme0, Critical Warning (0x01): available spare",
        "Device: /dev/nvme3, Critical Warning (0x09): available spare, read-only",
    ),
    pattern(
        rf"{_DEVICE}.*Critical Warning \(0x0?2\)",
        K.TEMPERATURE,
        C.STORAGE,
        S.WARNING,
        "Device: /dev/nvme0, Critical Warning (0x02): temperature",
        cls=P.ADD_ON,
    ),
    pattern(
        rf"{_DEVICE}.*(?:unreadable \(pending\) sectors|ffline uncorrectable sectors|Self-Test Log "
        rf"error count increased"
        r"|ATA error count increased|failed to read SMART (?:Attribute Data|values)|reached critical "
        r"limit|unable to open|No such device)",
        K.DISK_SMART,
        C.STORAGE,
        S.WARNING,
        "Device: /dev/sda [SAT], 8 Currently unreadable (pending) sectors",
        "Device: /dev/sdb [SAT], 2 Offline uncorrectable sectors",
        "Device: /dev/sdc [SAT], ATA error count increased from 12 to 388",
        "Device: /dev/sdc [SAT], failed to read SMART Attribute Data",
    ),
)
