"""Lines about network interfaces: links, transmit timeouts, adapters that hang.

Formats: net/sched/sch_generic.c (`NETDEV WATCHDOG`, with the CPU since 6.5 and the device first since 6.9),
drivers/net/ethernet (igb, igc, e1000e, ixgbe, i40e, ice, bnxt_en, bnx2x, tg3, mlx4, mlx5, be2net),
drivers/net/bonding/bond_main.c, net/core/dev.c.
"""

from __future__ import annotations

from models.risk.signal import Component, HardwareEventKind, PartClass, Severity
from tools.logs.patterns.table import Pattern, pattern

K, C, S, P = HardwareEventKind, Component, Severity, PartClass
_NIC = (
    r"(?P<part>(?!lo\b|vnet|veth|tap|tun|virbr|br-|docker|cni|cali|flannel|kube|vxlan|ovs|fwpr|"
    r"fwln|fwbr|vmbr|dummy|ifb|macvtap|\w*(?:\dv|vf)\d+\b)[A-Za-z][\w.-]{1,14})"
)
_DEVICE = r"(?:^|\s)(?:[\w-]+ [0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] )?" + _NIC

NETWORK: tuple[Pattern, ...] = (
    pattern(
        rf"{_NIC}: NETDEV WATCHDOG: CPU: \d+: transmit queue|NETDEV WATCHDOG: (?:CPU: \d+: )?"
        rf"{_NIC.replace('<part>', '<part_old>')} \((?!tun\b|virtio|veth|bridge|ax88|r8152|cdc_)[\w-]+\):? transmit queue",
        K.LINK_DOWN,
        C.NETWORK,
        S.CRITICAL,
        "NETDEV WATCHDOG: eno1 (ixgbe): transmit queue 7 timed out",
        "NETDEV WATCHDOG: CPU: 3: eth0 (mlx5_core): transmit queue 2 timed out 5004 ms",
        "r8125 0000:22:04.0 eth4: NETDEV WATCHDOG: CPU: 3: transmit queue 0 timed out 5010 ms",
    ),
    pattern(
        rf"{_DEVICE}: (?:TX [Tt]imeout (?:detected|on queue)|tx_timeout: VSI_seid|tx_timeout recovery unsuccessful"
        r"|Detected (?:Tx|Hardware) Unit Hang|tx hang \d+ detected on queue|initiating reset due "
        r"to tx timeout|transmit timed out, resetting"
        r"|PCIe link lost, device now detached|Adapter removed|tx timeout|Tx timeout)",
        K.LINK_DOWN,
        C.NETWORK,
        S.CRITICAL,
        "mlx5_core 0000:3b:00.0 ens1f0np0: TX timeout detected",
        "mlx5_core 0000:3b:00.0 ens1f0np0: TX timeout on queue: 10, SQ: 0x1b2a, CQ: 0x4d, SQ Cons: 0x1 SQ Prod: 0x2",
        "bnxt_en 0000:04:00.0 eno1np0: TX timeout detected, starting reset task!",
        "i40e 0000:18:00.0 eno2: tx_timeout: VSI_seid: 390, Q 5, NTC: 0x1a, HWB: 0x1a, NTU: 0x1c, TAIL: 0x1c, INT: 0x1",
        "igb 0000:01:00.0 eno1: Detected Tx Unit Hang",
        "e1000e 0000:00:1f.6 eno1: Detected Hardware Unit Hang:",
        "ixgbe 0000:18:00.0 eno1: tx hang 1 detected on queue 4, resetting adapter",
        "ixgbe 0000:18:00.0 eno1: initiating reset due to tx timeout",
        "tg3 0000:02:00.0 eno3: transmit timed out, resetting",
        "igb 0000:01:00.0 eno1: PCIe link lost, device now detached",
        "ice 0000:4b:00.0 ens2f0: tx_timeout recovery unsuccessful, device is in unrecoverable state.",
    ),
    pattern(
        r"(?:igb|igc|e1000e|ixgbe|i40e) (?P<part>[0-9a-f]{4}:[0-9a-f:.]+): (?:Detected (?:Tx|Hardware) "
        r"Unit Hang|Adapter removed|PCIe link lost)",
        K.LINK_DOWN,
        C.NETWORK,
        S.CRITICAL,
        "igb 0000:01:00.0: Detected Tx Unit Hang",
    ),
    pattern(
        r"(?:mlx[45]_core|bnxt_en|ice|i40e|bnx2x|be2net|qede?) (?P<part>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])[^:]*: .*?"
        r"(?:device's health compromised|mlx5_error_sw_reset|health recovery (?:flow aborted|failed)|"
        r"firmware internal error|Internal error detected"
        r"|[Ff]irmware fatal (?:reset event|condition|"
        r"exception)|Firmware not responding|FW heartbeat"
        r"|unrecoverable state|Rebuild failed|PF reset failed|Unrecoverable Error|Error detected in the card|MC assert)",
        K.LINK_DOWN,
        C.NETWORK,
        S.CRITICAL,
        "mlx5_core 0000:3b:00.0: poll_health:800:(pid 0): device's health compromised - reached miss count",
        "mlx5_core 0000:3b:00.0: mlx5_error_sw_reset:238:(pid 711): start",
        "mlx4_core 0000:04:00.0: Internal error detected:",
        "bnxt_en 0000:04:00.0 eno1np0: Firmware fatal reset event received, max wait time 5000 msec",
        "ice 0000:4b:00.0: Rebuild failed, unload and reload driver",
        "i40e 0000:18:00.0: PF reset failed, -15",
    ),
    pattern(
        r"(?:mlx5_core|bnxt_en) (?P<part>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])[^:]*: "
        r"(?:.*timeout\. Will cause a leak|Error \(timeout: \d+\) msg)",
        K.LINK_DOWN,
        C.NETWORK,
        S.WARNING,
        "mlx5_core 0000:3b:00.0: wait_func:1162:(pid 1234): ENABLE_HCA(0x104) timeout. Will cause a leak of a command resource",
        "bnxt_en 0000:04:00.0 eno1np0: Error (timeout: 500015) msg {0x41 0x20f} len:0",
    ),
    pattern(
        r"(?P<part>[\w.-]+): now running without any active interface|(?P<part_old>[\w.-]+): now "
        r"running without any active slave",
        K.LINK_DOWN,
        C.NETWORK,
        S.CRITICAL,
        "bond0: now running without any active interface!",
    ),
    pattern(
        r"\(slave (?P<part>[\w.-]+)\): link status definitely down|link status definitely down for "
        r"interface (?P<part_old>[\w.-]+)",
        K.LINK_DOWN,
        C.NETWORK,
        S.WARNING,
        "bond0: (slave eno1): link status definitely down, disabling slave",
        "bond0: link status definitely down for interface eno1, disabling it",
        "bond0: (slave eno1): link status definitely down for interface eno1, disabling it",
        cls=P.REDUNDANT,
    ),
    pattern(
        r"\(slave (?P<part>[\w.-]+)\): link status definitely up|link status definitely up for interface "
        r"(?P<part_old>[\w.-]+)",
        K.LINK_UP,
        C.NETWORK,
        S.INFO,
        "bond0: (slave eno1): link status definitely up, 10000 Mbps full duplex",
        cls=P.REDUNDANT,
    ),
    pattern(
        r"(?P<part>[\w.-]+): active interface up!|(?P<part_old>[\w.-]+): (?:\(slave [\w.-]+\): )?making "
        r"interface (?:[\w.-]+ )?the new active one",
        K.LINK_UP,
        C.NETWORK,
        S.INFO,
        "bond0: active interface up!",
        "bond0: (slave eno1): making interface the new active one",
    ),
    pattern(
        rf"(?:^|\s){_NIC}: (?:NIC )?[Ll]ink(?: is)? [Dd]own",
        K.LINK_DOWN,
        C.NETWORK,
        S.WARNING,
        "ixgbe 0000:18:00.0 eno1: NIC Link is Down",
        "tg3 0000:02:00.0 eth0: Link is down",
        "mlx5_core 0000:5e:00.0 enp94s0f0: Link down",
        "bnxt_en 0000:5e:00.0 ens1f0np0: NIC Link is Down",
        "igb 0000:01:00.0 eno1: NIC Link is Down",
    ),
    pattern(
        rf"(?:^|\s){_NIC}: (?:NIC )?[Ll]ink(?: is)? [Uu]p",
        K.LINK_UP,
        C.NETWORK,
        S.INFO,
        "ixgbe 0000:18:00.0 eno1: NIC Link is Up 10 Gbps, Flow Control: RX/TX",
        "tg3 0000:02:00.0 eth0: Link is up at 1000 Mbps",
        "mlx5_core 0000:5e:00.0 enp94s0f0: Link up",
    ),
    pattern(
        r"(?:igb|igc|e1000e?|ixgbe): (?P<part>[\w.-]+) NIC Link is Down",
        K.LINK_DOWN,
        C.NETWORK,
        S.WARNING,
        "igb: eno1 NIC Link is Down",
    ),
    pattern(
        r"(?:igb|igc|e1000e?|ixgbe): (?P<part>[\w.-]+) NIC Link is Up",
        K.LINK_UP,
        C.NETWORK,
        S.INFO,
        "igb: eno1 NIC Link is Up 1000 Mbps Full Duplex, Flow Control: RX",
    ),
)
