"""The lab's network and namespaces: one switch, three nodes behind it, one interface in the root namespace.

The switch's bridge lives in a namespace of its own, so that the machine's firewall (Docker's FORWARD policy with
br_netfilter, firewalld) never sees the lab's frames and the lab leaves the machine's own bridges alone:

    root: lb-LAB 10.77.I.1 ── br0 (lb-LAB-switch) ──┬── br0 (lb-LAB-node-a) 10.77.I.11 ── guests' taps
                                                    ├── br0 (lb-LAB-node-b) 10.77.I.12
                                                    └── br0 (lb-LAB-node-c) 10.77.I.13
"""

from __future__ import annotations

import ipaddress
import json
import zlib
from pathlib import Path

from lab.nodes import processes
from lab.nodes.node import DEFAULT_NAME, HOLDER, NODE_NAMES, Lab, LabNode, run, start_recorded, wait_until
from models.errors import LabError

_NETNS_DIR = Path("/run/netns")

# Runs as root inside the node's own mount, UTS and network namespaces; $1 is the node's directory, $2 its hostname.
# /etc becomes a directory of links to the machine's own, except for what the node has for itself. That gives it an
# /etc/pki even where the machine has none, without making one there. /run is the node's alone, so that its libvirtd
# finds neither the machine's sockets nor its D-Bus. /dev has no disks and no kvm: guests run under TCG, and probing
# what is not used (KVM, other emulators) would cost libvirtd 2 s each.
_NODE_SETUP = """
set -e
fs=$1/fs
hostname "$2"
mount --bind /etc "$fs/host-etc"
for entry in /etc/* /etc/.[!.]*; do
  name=${entry##*/}
  case $name in hosts|hostname|libvirt|pki|qemu|\\*|.\\[!.\\]\\*) continue ;; esac
  if [ -L "$entry" ]; then cp -P "$entry" "$fs/etc/$name"; else ln -s "$fs/host-etc/$name" "$fs/etc/$name"; fi
done
mount --bind "$fs/etc" /etc
for dir in lib cache log; do mount --bind "$fs/var/$dir/libvirt" "/var/$dir/libvirt"; done
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t tmpfs -o nosuid,mode=755,size=64k tmpfs "$fs/dev"
for device in null zero full random urandom tty net/tun; do
  mkdir -p "$fs/dev/net"; : >"$fs/dev/$device"; mount --bind "/dev/$device" "$fs/dev/$device"
done
mkdir "$fs/dev/pts" "$fs/dev/shm"
mount -t devpts -o ptmxmode=0666,mode=620 devpts "$fs/dev/pts"
ln -s pts/ptmx "$fs/dev/ptmx"
mount --bind /dev/shm "$fs/dev/shm"
mount --move "$fs/dev" /dev
for emulator in /usr/bin/qemu-system-*; do
  if [ "$emulator" != /usr/bin/qemu-system-x86_64 ]; then mount --bind /dev/null "$emulator"; fi
done
mount --bind "$fs/run" /run
: >"$1/ready"
exec sleep infinity
"""


def switch_netns(lab: Lab) -> str:
    return f"{lab.link}-switch"


def node_netns(lab: Lab, node: str) -> str:
    return f"{lab.link}-{node}"


def choose_index(name: str) -> int:
    """The i of 10.77.i.0/24: 7 for the default lab, else from the name; the next one where that is taken."""
    taken = [
        ipaddress.ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)
        for link in json.loads(run(["ip", "-json", "-4", "addr"]).stdout)
        for address in link["addr_info"]
    ]
    first = 7 if name == DEFAULT_NAME else 8 + zlib.crc32(name.encode()) % 240
    for step in range(240):
        index = (first + step - 7) % 248 + 7
        if not any(net.overlaps(ipaddress.ip_network(f"10.77.{index}.0/24")) for net in taken):
            return index
    raise LabError("no free network in 10.77.0.0/16", hint="see `ip -4 addr`")


def create(lab: Lab) -> None:
    """Make the switch, the namespaces and the links, and fill lab.nodes. Refuses what it did not make."""
    names = [switch_netns(lab), *(node_netns(lab, node) for node in NODE_NAMES)]
    present = [name for name in names if (_NETNS_DIR / name).exists()]
    if Path("/sys/class/net", lab.link).exists():
        present.append(lab.link)
    if present:
        raise LabError(
            f"{', '.join(present)} exists and was not made by this lab",
            hint="choose another --name, or remove it with `ip netns del` / `ip link del`",
        )
    journal = lab.journal
    if not _NETNS_DIR.exists():
        journal.add("netns-dir")  # `ip netns add` will make it, and mount it onto itself
    for name in names:
        journal.add("netns", name=name)
    journal.add("link", name=lab.link)

    switch = names[0]
    bridge = "link add br0 address {mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    _batch([*(f"netns add {name}" for name in names), f"link add {lab.link} type veth peer name root netns {switch}"])
    _batch(
        [
            bridge.format(mac=_mac(lab.index, 2)),
            "link set lo up",
            "link set br0 up",
            "link set root master br0 up",
            *(f"link add {node} type veth peer name uplink netns {node_netns(lab, node)}" for node in NODE_NAMES),
            *(f"link set {node} master br0 up" for node in NODE_NAMES),
        ],
        netns=switch,
    )
    _batch([f"addr add {lab.gateway}/24 dev {lab.link}", f"link set {lab.link} up"])
    for number, node in enumerate(NODE_NAMES):
        address = lab.host_address(11 + number)
        _batch(
            [
                bridge.format(mac=_mac(lab.index, 11 + number)),  # fixed: a guest's tap must not change it
                "link set lo up",
                "link set uplink master br0 up",
                f"addr add {address}/24 dev br0",
                "link set br0 up",
                f"route add default via {lab.gateway}",
            ],
            netns=node_netns(lab, node),
        )
        lab.nodes[node] = lab.make_node(node, address, node_netns(lab, node), None)
    for node in NODE_NAMES:
        lab.nodes[node] = _hold(lab, node)
    for node in lab.nodes.values():
        log = node.run_dir / "holder.log"
        try:
            wait_until((node.run_dir / "ready").exists, seconds=60, what=f"{node.name}: namespaces")
        except LabError as error:
            raise LabError(str(error), hint=processes.tail(log)) from None


def _hold(lab: Lab, name: str) -> LabNode:
    """Start the process that makes and keeps the node's mount and UTS namespaces."""
    node = lab.nodes[name]
    for part in (
        "etc/libvirt",
        "etc/pki",
        "host-etc",
        "dev",
        "run/lock",
        *(f"var/{d}/libvirt" for d in ("lib", "cache", "log")),
    ):
        (node.run_dir / "fs" / part).mkdir(parents=True, exist_ok=True)
    hosts = ["127.0.0.1 localhost", *(f"{n.address} {n.name}" for n in lab.nodes.values())]
    (node.run_dir / "fs/etc/hosts").write_text("\n".join(hosts) + "\n")
    (node.run_dir / "fs/etc/hostname").write_text(f"{name}\n")
    holder = start_recorded(
        lab.journal,
        name,
        ["nsenter", f"--net={node.namespace}", "unshare", "--mount", "--uts", "--propagation", "private",
         "sh", "-c", _NODE_SETUP, HOLDER, str(node.run_dir), name],
        log=node.run_dir / "holder.log",
    )  # fmt: skip
    return lab.make_node(name, node.address, node.netns, holder)


def set_link(lab: Lab, node: str, *, up: bool) -> None:
    """Plug or unplug a node's network cable: its guests lose the network with it."""
    run(["ip", "-n", switch_netns(lab), "link", "set", lab.node(node).name, "up" if up else "down"])


def link_is_up(lab: Lab, node: str) -> bool:
    shown = run(["ip", "-n", switch_netns(lab), "-json", "link", "show", lab.node(node).name]).stdout
    return "UP" in json.loads(shown)[0]["flags"]


def _batch(lines: list[str], *, netns: str | None = None) -> None:
    run(["ip", *(["-n", netns] if netns else []), "-batch", "-"], stdin="\n".join(lines))


def _mac(index: int, host: int) -> str:
    return f"52:54:00:77:{index:02x}:{host:02x}"
