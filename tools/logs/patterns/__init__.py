"""Which log lines are hardware events: tables to be read and reviewed from top to bottom, one file a kind of hardware.

The first pattern that matches wins. Each carries lines it must match; a test holds it to them. A pattern may name
`part` (which disk, NIC, module …). Only that part, cut to harmless characters, leaves this package: never the line.
"""

from __future__ import annotations

import re

from tools.logs.patterns.filesystems import ARRAYS, SMARTD
from tools.logs.patterns.machine import MACHINE
from tools.logs.patterns.memory import MEMORY
from tools.logs.patterns.network import NETWORK
from tools.logs.patterns.storage import CONTROLLERS, DISKS
from tools.logs.patterns.table import Match, Pattern, first_match, harmless

__all__ = ["KERNEL", "Match", "Pattern", "harmless", "is_known_harmless", "lines_with_hints", "match_kernel"]

KERNEL: tuple[Pattern, ...] = (*MEMORY, *MACHINE, *CONTROLLERS, *DISKS, *ARRAYS, *SMARTD, *NETWORK)
"""Of messages of the kernel and of the programs that speak for the hardware."""

TWINS = re.compile(
    # A request that the device need not support, or that another node's reservation refuses (cluster fencing, shared LUNs).
    r"op 0x(?:3|5|9|b|d|f):?\((?:DISCARD|SECURE_ERASE|WRITE_ZEROES|ZONE_\w+)\)|critical nexus error|reservation conflict"
    # Machine checks that were only announced, tests, and what a BIOS left behind.
    r"|Machine check events logged|EDAC MC: Ver|Giving out device|\bEINJ\b|BERT: Total records|Link is Down\(0x"
    # A guest's or a container's virtual function.
    r"|^(?:iavf|i40evf|ixgbevf|igbvf) "
    # An administrator asked for it.
    r"|User initiated shutdown received|md: .* stopped|: entered promiscuous"
)
"""Lines that look like an event and are none."""
_HARMLESS_LINES = re.compile(
    r"Device: .*(?:opened|is SMART capable|found in smartd database|not found in smartd database|"
    r"state (?:read from|written to)|SMART (?:Prefailure|Usage) Attribute"
    r"|Temperature changed|previous self-test|self-test (?:completed|in progress)|starting scheduled|"
    r"Self-Test Log error count decreased|no longer|number of Error Log entries"
    r"|monitoring|[Tt]emperature \d+ Celsius reached limit|duplicate|enabled|lack[s]?|Read (?:SMART|"
    r"Summary)|type changed|IE \(SMART\) not enabled|initial|adding to)"
    r"|^(?:smartd |Opened configuration|Drive: |Configuration file|Monitoring \d+|Copyright|"
    r"Problem creating|file /run|Terminating|Reconfiguring|DEVICESCAN|Unable to monitor)"
    r"|^(?:rasdaemon: |ras:|Enabled event|Listening to events|overriding event|Family |wait_access|"
    r"mcelog: |failed to prefill|Kernel does not support|Running|"
    r"Can't (?:get traces|register)|Opening |Reading |cpu \d+ online|Using |Huge|Calling |Old|ready|No memory errors|ras-)"
    r"|eid=\d+ class=(?:history|config|scrub|resilver|pool_import|zvol|vdev_attach|trim)\w*|"
    r"^(?:Hardware event|MCE \d+|CPU \d+ |ADDR |MISC |MCG status|STATUS |TIME |Location |MCi|"
    r"CPUID |Corrected error|Transaction|MemCtrl|Error enabled|MCA: |Uncorrected|Running trigger|"
    r"Processor context|Error overflow|M?CGSTATUS)|"
    r"(?:RebuildStarted|Rebuild\d\d|RebuildFinished|SpareActive|NewArray|MoveSpare) event"
)


def match_kernel(message: str) -> Match | None:
    """What a message says, without time, host and tag; None when no pattern names it or it only looks like an event."""
    return None if TWINS.search(message) else first_match(KERNEL, message)


def is_known_harmless(message: str) -> bool:
    """Whether a hardware program's message is one of those that say nothing about the hardware's health."""
    return bool(_HARMLESS_LINES.search(message))


_HINTS = tuple(
    (
        b"ipmi|EDAC|rror|achine |Memory failure|corruption|AER: |I/O|ffline|Sense|hostbyte=DID_|nvme|md/raid|EXT4-fs|XFS|BTRFS|"
        b"ournal|NETDEV|ink|emperature|Linux version|isable|Emask|reset|RESET|giving up|_event: |mce_record|PCIe|NMI|DPC: |"
        b"pciehp|Xid|lockup|LOCKUP|blocked for|stall|offlining|Device: |panic|hpsa|smartpqi|megaraid|mpt2sas|mpt3sas|"
        b"aacraid|AAC|qla2xxx|lpfc|class=|imeout|imed out|tx hang|Unit Hang|"
        b"dapter|mlx|bnxt|unrecoverable|now running without|event detected|dead device|USB disconnect|cdc_|rndis|"
        b"Attached|BERT|CPUs|mcelog|"
        b"active interface|the new active|rasdaemon|smartd|zed|mdadm|_STATUS[|waited|device-mapper|JBD2|ailed|MC assert|atal|"
        b"Machine|exceed"
    ).split(b"|")
)
"""What every pattern's line contains, and the tags of the programs that speak for the hardware."""


def lines_with_hints(block: bytes) -> list[bytes]:
    """The lines of a block (each ended) that a pattern may match, in order; most lines of a log are no such lines.

    Searching a megabyte for each hint takes a tenth of the time of testing its ten thousand lines one by one.
    """
    found: dict[int, bytes] = {}
    for hint in _HINTS:
        at = block.find(hint)
        while at >= 0:
            start, end = block.rfind(b"\n", 0, at) + 1, block.index(b"\n", at)
            found[start] = block[start:end]
            at = block.find(hint, end)
    return [found[start] for start in sorted(found)]
