"""Lines about memory and processors: EDAC, machine checks, firmware-first records (GHES), mcelog, rasdaemon.

Formats: drivers/edac/edac_mc.c (since 3.5; before that `CE page … label`), drivers/edac/mce_amd.c,
arch/x86/kernel/cpu/mce/core.c, mm/memory-failure.c, drivers/ras/cec.c, drivers/firmware/efi/cper.c, mcelog.c, rasdaemon's
ras-*-handler.c.
"""

from __future__ import annotations

from models.risk.signal import Component, HardwareEventKind, Severity
from tools.logs.patterns.table import Pattern, pattern

K, C, S = HardwareEventKind, Component, Severity

_MODULE = r"(?:.*?\bon (?P<within>[^( ]*(?:DIMM|[Dd]imm|csrow#)[^( ]*))?"
"""The label of a module, where the kernel knows it."""

MEMORY: tuple[Pattern, ...] = (
    pattern(
        rf"EDAC (?:\w+ )?(?P<part>MC\d+): (?:\d+ )?UE {_MODULE}",
        K.MEMORY_UNCORRECTED,
        C.MEMORY,
        S.CRITICAL,
        "EDAC MC0: 1 UE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x12f03a)",
        "EDAC MC3: 1 UE ie31200 UE on any memory (page:0x9 offset:0x0 grain:8 - IE31200 UE)",
        'EDAC MC0: UE page 0x0, offset 0x0, grain 0, row 5, labels ":": amd64_edac',
    ),
    pattern(
        rf"EDAC (?:\w+ )?(?P<part>MC\d+): \d{{3,}} CE {_MODULE}",
        K.MEMORY_CORRECTED,
        C.MEMORY,
        S.CRITICAL,
        "EDAC MC0: 240 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x12f03a)",
    ),
    pattern(
        rf"EDAC (?:\w+ )?(?P<part>MC\d+): (?:\d+ )?CE {_MODULE}",
        K.MEMORY_CORRECTED,
        C.MEMORY,
        S.WARNING,
        "EDAC MC1: 1 CE memory scrubbing error on CPU_SrcID#1_MC#0_Chan#0_DIMM#1 (channel:0 slot:1 page:0x8a2)",
        "EDAC MC0: 1 CE on mc#0csrow#3channel#1 (csrow:3 channel:1 page:0x1234 offset:0x0 grain:64 syndrome:0x1)",
        'EDAC MC0: CE page 0x68a2, offset 0x0, grain 0, syndrome 0x0, row 2, channel 1, label "": i3200',
    ),
    pattern(
        r"Memory failure: 0x[0-9a-f]+: ",
        K.MEMORY_UNCORRECTED,
        C.MEMORY,
        S.CRITICAL,
        "Memory failure: 0x12f03a: recovery action for dirty LRU page: Recovered",
        "Memory failure: 0x12f03a: Sending SIGBUS to qemu-system-x86:4121 due to hardware memory corruption",
    ),
    pattern(
        r"Uncorrected hardware memory error in (?:user-access|kernel)|Killing \S+ due to hardware memory corruption",
        K.MEMORY_UNCORRECTED,
        C.MEMORY,
        S.CRITICAL,
        "mce: Uncorrected hardware memory error in user-access at 12f03a000",
    ),
    pattern(
        r"RAS: Soft-offlining pfn: 0x",
        K.MEMORY_CORRECTED,
        C.MEMORY,
        S.WARNING,
        "RAS: Soft-offlining pfn: 0x12f03a",
    ),
    # ---- machine checks ----
    pattern(
        r"Machine Check Exception|Fatal machine check|Processor context corrupt|Timeout: Not all "
        r"CPUs entered broadcast exception handler"
        r"|CPUs not responding to MCE broadcast",
        K.MACHINE_CHECK,
        C.CPU,
        S.CRITICAL,
        "mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 7: fe00000000800400",
        "Kernel panic - not syncing: Fatal machine check",
        "mce: [Hardware Error]: Machine check: Processor context corrupt",
    ),
    # Bit 61 of the bank's status says uncorrected (Intel SDM 3B, 16.3.2.2): first digit a, b, e or f.
    pattern(
        r"Machine Check(?: Event)?: (?:0x)?\d+ Bank \d+: (?:0x)?[abef][0-9a-f]{15}",
        K.MACHINE_CHECK,
        C.CPU,
        S.CRITICAL,
        "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 7: bd80000000100134",
        "EDAC skx MC3: CPU 16: Machine Check Event: 0x0 Bank 13: 0xbc00004000010091",
    ),
    pattern(
        r"Machine Check(?: Event)?: (?:0x)?\d+ Bank \d+: (?:0x)?[89cd][0-9a-f]{15}",
        K.MACHINE_CHECK,
        C.CPU,
        S.WARNING,
        "mce: [Hardware Error]: CPU 4: Machine Check: 0 Bank 9: 8c00004000010090",
    ),
    # AMD's decoder: MC<bank>_STATUS[Over|UE, CE or -|…]; a deferred error is one whose data nobody has used yet.
    pattern(
        r"\bMC\d+_STATUS\[[^\]]*\bDeferred\b",
        K.MEMORY_UNCORRECTED,
        C.MEMORY,
        S.WARNING,
        "[Hardware Error]: CPU:4 (19:1:1) MC18_STATUS[-|-|MiscV|AddrV|-|-|SyndV|UECC|Deferred|Poison|-]: 0x9c20010041000a13",
    ),
    pattern(
        r"\bMC\d+_STATUS\[[^|\]]*\|UE\|",
        K.MACHINE_CHECK,
        C.CPU,
        S.CRITICAL,
        "[Hardware Error]: CPU:21 (19:1:1) MC5_STATUS[-|UE|MiscV|AddrV|PCC|TCC|SyndV|-|-|-]: 0xbea0000000000108",
        "[Hardware Error]: CPU:2 (19:1:1) MC0_STATUS[-|UE|MiscV|AddrV|-|TCC|SyndV|UECC|-|Poison|-]: 0xbc00280000010145",
    ),
    pattern(
        r"\bMC\d+_STATUS\[[^|\]]*\|CE\|",
        K.MACHINE_CHECK,
        C.CPU,
        S.WARNING,
        "[Hardware Error]: CPU:0 (17:31:0) MC255_STATUS[-|CE|-|-|AddrV|-|-|-]: 0x9400000000000000",
    ),
    pattern(
        r"\[Hardware Error\]: (?:System Fatal error|Uncorrected, software (?:restartable|containable) "
        r"error)",
        K.MACHINE_CHECK,
        C.CPU,
        S.CRITICAL,
        "[Hardware Error]: System Fatal error.",
        "[Hardware Error]: Uncorrected, software restartable error.",
    ),
    # ---- rasdaemon, which reads the kernel's trace events ----
    pattern(
        rf"mc_event: .*\d+ (?:Uncorrected|Fatal|Deferred) errors?{_MODULE}.*?(?:\(mc: (?P<part>\d+)|$)",
        K.MEMORY_UNCORRECTED,
        C.MEMORY,
        S.CRITICAL,
        "<...>-1234 [002] 0.000123: mc_event: 2026-11-23 04:00:00 +0000 1 Uncorrected error: memory read error on "
        "CPU_SrcID#0_MC#0_Chan#1_DIMM#0 (mc: 0 location: 1:0:-1 address: 0x12f03a000 grain: 32 syndrome: 0x0)",
    ),
    pattern(
        rf"mc_event: .*\d+ Corrected errors?{_MODULE}.*?(?:\(mc: (?P<part>\d+)|$)",
        K.MEMORY_CORRECTED,
        C.MEMORY,
        S.WARNING,
        "<...>-1234 [002] 0.000123: mc_event: 2026-11-23 04:00:00 +0000 1 Corrected error: memory scrubbing error on "
        "CPU_SrcID#1_MC#0_Chan#0_DIMM#1 (mc: 1 location: 0:1:-1 address: 0x8a2000 grain: 32 syndrome: 0x0)",
    ),
    pattern(
        r"mce_record: .*(?:status= ?[abef][0-9a-f]{15}|mci= ?(?:Uncorrected|UECC)|\bUncorrected,)",
        K.MACHINE_CHECK,
        C.CPU,
        S.CRITICAL,
        "<...>-1234 [002] 0.000124: mce_record: 2026-11-23 04:00:00 +0000 bank=1, status= bd80000000100134, "
        "Uncorrected, software restartable "
        "error, mci=Uncorrected_error Error_enabled, mca=Data CACHE Level-0 Data-Read Error, cpu_type= "
        "Intel, cpu= 1, socketid= 0",
    ),
    pattern(
        r"mce_record: ",
        K.MACHINE_CHECK,
        C.CPU,
        S.WARNING,
        "<...>-42552 [001] 0.007845: mce_record: 2026-11-23 04:00:00 +0000 Unified Memory Controller "
        "(bank=18), status= 9c2040000000011b, "
        "Corrected error, no action required., mci=CECC, mca= DRAM ECC error.",
    ),
    pattern(
        r"memory_failure_event: ",
        K.MEMORY_UNCORRECTED,
        C.MEMORY,
        S.CRITICAL,
        "<...>-1234 [002] 0.000126: memory_failure_event: 2026-11-23 04:00:00 +0000 pfn=0x12f03a "
        "page_type=dirty LRU page action_result=Recovered",
    ),
    pattern(
        r"(?:extlog_mem_event|extlog_record|arm_event|non_standard_event): .*(?:[Uu]ncorrect|fatal|"
        r"recoverable)",
        K.MACHINE_CHECK,
        C.CPU,
        S.CRITICAL,
        "<...>-1234 [002] 0.000127: extlog_mem_event: 2026-11-23 04:00:00 +0000 1 fatal error: Multi-bit ECC on node: 0 card: 1",
    ),
    # ---- mcelog as a daemon; its decoded records are read as a whole (tools.logs.records) ----
    pattern(
        r"(?<!un)corrected (?:DIMM |page )?memory error count exceeded threshold|[Cc]orrected memory errors "
        r"on page \w+ exceed",
        K.MEMORY_CORRECTED,
        C.MEMORY,
        S.WARNING,
        "corrected DIMM memory error count exceeded threshold: 10 in 24h",
    ),
    pattern(
        r"uncorrected (?:DIMM )?memory error count exceeded threshold",
        K.MEMORY_UNCORRECTED,
        C.MEMORY,
        S.CRITICAL,
        "uncorrected DIMM memory error count exceeded threshold: 1 in 24h",
    ),
)
