"""Lines about storage controllers and disks.

Formats: drivers/ata/libata-*.c, drivers/scsi (sd, scsi_error, hpsa, smartpqi, megaraid_sas, mpt3sas, aacraid), block/blk-core.c
(the names of its errors), drivers/nvme/host (pci.c, core.c).
"""

from __future__ import annotations

from models.risk.signal import Component, HardwareEventKind, PartClass, Severity
from tools.logs.patterns.table import Pattern, pattern

K, C, S, P = HardwareEventKind, Component, Severity, PartClass
_NAME = r"(?:sd[a-z]{1,3}|nvme\d+n\d+|vd[a-z]{1,2}|mmcblk\d+|dm-\d+|md\d+)"
_DISK = rf"(?P<part>{_NAME})"
_SCSI = rf"(?:\b(?:sd|scsi) (?P<part_hctl>\d+:\d+:\d+:\d+):(?: \[(?P<part_named>{_NAME})\])?|\[{_DISK}\])"
"""`sd 0:0:0:0: [sda]`, or without the name where the driver did not know it."""
_PCI = r"(?P<part>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"

CONTROLLERS: tuple[Pattern, ...] = (
    pattern(
        rf"hpsa {_PCI}: (?:[Cc]ontroller lockup detected|failed \d+ commands in fail_all)|hpsa (?P<part_old>\w+): "
        rf"controller lockup",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "hpsa 0000:03:00.0: controller lockup detected: 0x00150028 after 30",
        "hpsa 0000:03:00.0: failed 23 commands in fail_all",
        cls=P.CONTROLLER,
    ),
    pattern(
        rf"smartpqi {_PCI}: (?:controller is offline: status code|controller offline\b|no heartbeat "
        rf"detected)",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "smartpqi 0000:5c:00.0: controller is offline: status code 0x6100c",
        "smartpqi 0000:23:00.0: controller offline",
        "smartpqi 0000:23:00.0: no heartbeat detected - last heartbeat count: 20172",
        cls=P.CONTROLLER,
    ),
    pattern(
        rf"megaraid_sas {_PCI}: (?:.*killing adapter scsi|.*Adapter is (?:dead|not responding)|.*[Cc]ontroller "
        rf"in crit error|.*Diag reset adapter never cleared"
        r"|.*cannot be recovered|.*adapter reset failed)",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "megaraid_sas 0000:18:00.0: Reset failed, killing adapter scsi0.",
        "megaraid_sas 0000:18:00.0: Diag reset adapter never cleared megasas_adp_reset_fusion 3977",
        "megaraid_sas 0000:18:00.0: megasas_wait_for_outstanding:2735 killing adapter scsi0 disableOnlineCtrlReset "
        "0 fw_outstanding 7",
        cls=P.CONTROLLER,
    ),
    pattern(
        rf"megaraid_sas {_PCI}: (?:.*(?:FW|Firmware) in FAULT state|.*resetting fusion adapter|.*Fatal "
        rf"firmware error|.*Controller encountered a fatal error and was reset)",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "megaraid_sas 0000:18:00.0: FW in FAULT state Fault code:0x10000 subcode:0x0 func:megasas_wait_for_outstanding_fusion",
        "megaraid_sas 0000:18:00.0: resetting fusion adapter scsi0.",
        cls=P.CONTROLLER,
    ),
    pattern(
        rf"megaraid_sas {_PCI}: .*VD \S+ is now (?:OFFLINE|DELETED)",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "megaraid_sas 0000:03:00.0: 5263 (627s/0x0001/FATAL) - VD 00/0 is now OFFLINE",
        cls=P.CONTROLLER,
    ),
    pattern(
        rf"megaraid_sas {_PCI}: .*(?:VD \S+ is now (?:PARTIALLY )?DEGRADED|Predictive failure: PD|"
        r"PD \S+ is (?:now )?(?:FAILED|not supported))",
        K.DISK_SMART,
        C.STORAGE,
        S.WARNING,
        "megaraid_sas 0000:03:00.0: 5264 (627s/0x0001/CRIT) - VD 00/0 is now DEGRADED",
        "megaraid_sas 0000:03:00.0: 5264 (627s/0x0002/WARN) - Predictive failure: PD 05(e0x20/s5)",
        cls=P.REDUNDANT,
    ),
    pattern(
        rf"megaraid_sas {_PCI}: (?:Reset successful|FW was restarted successfully)",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "megaraid_sas 0000:03:00.0: Reset successful for scsi0.",
        asserted=False,
        cls=P.CONTROLLER,
    ),
    pattern(
        r"(?P<part>mpt[23]sas_cm\d+|mpt[23]sas\d+): (?:diag reset: FAILED|SAS host is non-operational|"
        r".*dead_ioc thread|issue_port_reset: FAILED|Blocking the host)",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "mpt3sas_cm0: diag reset: FAILED",
        "mpt3sas_cm0: SAS host is non-operational !!!!",
        "mpt3sas_cm0: _base_fault_reset_work: Running mpt3sas_dead_ioc thread success !!!!",
        cls=P.CONTROLLER,
    ),
    pattern(
        r"(?P<part>mpt[23]sas_cm\d+|mpt[23]sas\d+): (?:fault_state\(0x|coredump_state\(|sending "
        r"diag reset)",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "mpt3sas_cm0: fault_state(0x5854)!",
        "mpt3sas_cm0: sending diag reset !!",
        cls=P.CONTROLLER,
    ),
    pattern(
        r"(?P<part>mpt[23]sas_cm\d+|mpt[23]sas\d+): diag reset: SUCCESS",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "mpt3sas_cm0: diag reset: SUCCESS",
        asserted=False,
        cls=P.CONTROLLER,
    ),
    pattern(
        r"(?P<part>aacraid|AAC\d+): ?(?:.*Host adapter dead|adapter kernel panic|.*IOP reset failed|"
        r".*(?:Controller|adapter) reset (?:type is \d+ )?failed)",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "aacraid: Host adapter dead -1",
        "AAC0: adapter kernel panic'd fffffffd.",
        cls=P.CONTROLLER,
    ),
    pattern(
        r"(?P<part>aacraid): Host (?:adapter|bus|device) reset request",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "aacraid: Host adapter reset request. SCSI hang ?",
        cls=P.CONTROLLER,
    ),
    pattern(
        r"(?:qla2xxx \[|lpfc )(?P<part>[0-9a-f:.]+)\S* .*(?:ISP System Error|Firmware/Hardware Error|"
        r"HBA is (?:dead|offline)|Adapter (?:is )?(?:dead|offline))",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "qla2xxx [0000:81:00.0]-5003:7: ISP System Error - mbx1=1h mbx2=2h mbx3=3h.",
        cls=P.REDUNDANT,
    ),
)
"""Storage controllers: their disks go with them."""

DISKS: tuple[Pattern, ...] = (
    pattern(
        rf"{_SCSI}.*Add\. Sense: (?:Unrecovered read error|Write error|Peripheral device write fault|Internal target failure|"
        rf"Logical unit failure|Hardware failure|Mechanical positioning error|No defect spare location available|"
        rf"Diagnostic failure on component|Medium format corrupted|Logical unit not ready, manual intervention required)",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "sd 0:0:0:0: [sda] tag#4 Add. Sense: Unrecovered read error - auto reallocate failed",
        "sd 6:0:2:0: [sdh] tag#11 Add. Sense: No defect spare location available",
    ),
    # Additional sense code 5Dh (SPC-4), but for what a test set off: the disk's own forecast, as smartd's.
    pattern(
        rf"{_SCSI}.*Add\. Sense: (?!.*\(false\))(?:.*[Ff]ailure prediction threshold exceeded|.*impending failure)",
        K.DISK_SMART,
        C.STORAGE,
        S.CRITICAL,
        "sd 0:0:5:0: [sdf] tag#12 Add. Sense: Failure prediction threshold exceeded",
        "sd 0:0:5:0: [sdf] tag#0 Add. Sense: Hardware impending failure general hard drive failure",
    ),
    pattern(
        rf"critical (?:medium|target|space allocation) error, dev {_DISK}(?:,|$)|protection error, "
        rf"dev (?P<part_other>{_NAME}),",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "critical medium error, dev nvme0n1, sector 1562824368 op 0x0:(READ) flags 0x80700 phys_seg 4 prio class 2",
    ),
    pattern(
        rf"(?<!Buffer )(?:I/O|timeout|recoverable transport|device resource) error, dev {_DISK}",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "I/O error, dev sda, sector 1953000512 op 0x0:(READ) flags 0x80700 phys_seg 4 prio class 2",
        "blk_update_request: I/O error, dev sdb, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 0",
    ),
    pattern(
        rf"(?<!Buffer )offline error, dev {_DISK}",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "offline error, dev sda, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1",
    ),
    pattern(
        r"(?P<part>ata\d+)(?:\.\d+)?: (?:disable device|disabled|reset failed, giving up)",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "ata1.00: disable device",
        "ata3.00: disabled",
        "ata3: reset failed, giving up",
    ),
    pattern(
        rf"{_SCSI}.*(?:rejecting I/O to (?:offline|dead) device|Device offlined)",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "sd 0:0:0:0: [sda] rejecting I/O to offline device",
        "sd 0:0:0:0: Device offlined - not ready after error recovery",
        "sd 0:0:0:0: rejecting I/O to dead device",
    ),
    pattern(
        rf"{_SCSI}.*(?:Sense Key : (?:Medium|Hardware) Error|hostbyte=DID_(?:BAD_TARGET|NO_CONNECT|"
        rf"TIME_OUT)|timing out command, waited)",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "sd 0:0:0:0: [sda] tag#4 Sense Key : Medium Error [current] ",
        "sd 0:0:0:0: [sda] tag#3 FAILED Result: hostbyte=DID_TIME_OUT driverbyte=DRIVER_OK cmd_age=180s",
    ),
    pattern(
        r"(?P<part>ata\d+)(?:\.\d+)?: (?:exception Emask|hard resetting link|softreset failed|COMRESET "
        r"failed|failed command: )",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "ata1.00: exception Emask 0x0 SAct 0x10 SErr 0x0 action 0x0",
        "ata1: hard resetting link",
        "ata1.00: failed command: READ FPDMA QUEUED",
    ),
    pattern(
        r"nvme (?P<part>nvme\d+): (?:controller is down|Device not ready|Removing after probe failure|"
        r"Disabling device|.*resetting controller due to persistent internal error)",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10",
        "nvme nvme1: Removing after probe failure status: -19",
        "nvme nvme2: Device not ready; aborting reset, CSTS=0x1",
        "nvme nvme0: Disabling device after reset failure: -19",
    ),
    pattern(
        r"nvme (?P<part>nvme\d+): I/O .*timeout|nvme (?P<part_admin>nvme\d+): .*frozen state error "
        r"detected",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "nvme nvme0: I/O 312 (I/O Cmd) QID 3 timeout, aborting",
        "nvme nvme2: I/O 0 QID 0 timeout, reset controller",
        "nvme nvme3: I/O tag 312 (1138) opcode 0x2 (I/O Cmd) QID 3 timeout, aborting req_op:READ(0) size:32768",
    ),
    pattern(
        r"(?P<part>nvme\d+)n\d+: .*(?:Unrecovered Read Error|Write Fault|Media and Data Integrity|"
        r"Internal Error|Namespace Not Ready)",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "nvme1n1: Read(0x2) @ LBA 1336320, 32 blocks, Unrecovered Read Error (sct 0x2 / sc 0x81) DNR",
    ),
    pattern(
        r"(?P<part>nvme\d+)n\d+: detected capacity change from [1-9]\d* to 0",
        K.DISK_IO,
        C.STORAGE,
        S.CRITICAL,
        "nvme2n1: detected capacity change from 800166076416 to 0",
    ),
    pattern(
        rf"diskerror_event: .*(?:dev=.*?(?P<part>{_NAME})|error=)",
        K.DISK_IO,
        C.STORAGE,
        S.WARNING,
        "<...>-1234 [002] 0.000127: diskerror_event: 2026-11-23 04:00:00 +0000 dev=8:0 (sda), sector=1234, "
        "nr_sector=8, error='I/O error'",
    ),
)
