"""Every element and attribute of a definition that lifeboat knows, as data. What is not here is unknown, and refuses.

One line per element, below `<domain>`: its path, then the attributes it may have; `#` where it may have text. A second
line adds to the first. `{a,b}` stands for several names at once. `!` in front: it may name something on the host, and is
known only together with the handler that accounts for it (`handlers.py`). What may be an absolute path ends in `/`: one
anywhere else is unknown. Some places are written once: `image/source` is the source of a disk, of what lies below it, of
its data file and of UEFI variables; `char/…` belongs to every serial port, channel and the like; `devices/*/…` to every
device. Names after libvirt's own schema (src/conf/schemas/domaincommon.rng, 9.0 and 11.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from re import split

from tools.domain.inventory.known_devices import DEVICES

_GUEST = """
!.: id type
idmap:
idmap/{uid,gid}: count start target
name uuid title description genid: #/
metadata:
{memory,currentMemory}: # unit dumpCore
maxMemory: # unit slots
!memoryBacking:
memoryBacking/{nosharepages,locked,discard}:
memoryBacking/hugepages:
memoryBacking/hugepages/page: nodeset size unit
memoryBacking/source: type
memoryBacking/access: mode
memoryBacking/allocation: mode threads
!vcpu: # cpuset current placement
vcpus:
vcpus/vcpu: enabled hotpluggable id order
iothreads: #
iothreadids:
iothreadids/iothread: id thread_pool_max thread_pool_min
iothreadids/iothread/poll: grow max shrink
defaultiothread: thread_pool_max thread_pool_min
blkiotune:
blkiotune/weight: #
blkiotune/device:
!blkiotune/device/path: #/
blkiotune/device/{weight,read_bytes_sec,read_iops_sec,write_bytes_sec,write_iops_sec}: #
memtune:
memtune/{hard_limit,soft_limit,min_guarantee,swap_hard_limit}: # unit
cputune:
cputune/{shares,period,quota,global_period,global_quota}: #
cputune/{emulator_period,emulator_quota,iothread_period,iothread_quota}: #
!cputune/{vcpupin,emulatorpin,iothreadpin}: cpuset vcpu iothread
cputune/{vcpusched,emulatorsched,iothreadsched}: iothreads priority scheduler vcpus
!cputune/{cachetune,memorytune}: id vcpus
cputune/cachetune/cache: id level size type unit
cputune/{cachetune,memorytune}/monitor: level vcpus
cputune/memorytune/node: bandwidth id
numatune:
!numatune/{memory,memnode}: cellid mode nodeset placement
resource:
!resource/partition: #/
resource/fibrechannel: appid
throttlegroups:
throttlegroups/throttlegroup:
{throttlegroups/throttlegroup,devices/disk/iotune}/{group_name,size_iops_sec}: #
{throttlegroups/throttlegroup,devices/disk/iotune}/{total,read,write}_{bytes,iops}_sec{,_max,_max_length}: #
sysinfo: type
sysinfo/{bios,system,baseBoard,chassis,oemStrings}:
sysinfo/{bios,system,baseBoard,chassis,oemStrings}/entry: #/ name
!sysinfo/entry: #/ file/ name
!os: firmware
os/type: # arch machine
os/firmware:
os/firmware/feature: enabled name
!os/loader: #/ format readonly secure stateless type
!os/nvram: #/ format template/ templateFormat type
!os/varstore: path/ template/
!os/{kernel,initrd,dtb,shim}: #/
os/{cmdline,root}: #/
os/acpi:
!os/acpi/table: #/ type
os/bios: rebootTimeout useserial
os/boot: dev
os/bootmenu: enable timeout
os/smbios: mode
features:
features/{acpi,pae,viridian,privnet}:
features/apic: eoi
features/{aia,cfpc,ibs,sbbc}: value
features/async-teardown: enabled
features/{ccf-assist,hap,htm,nested-hv,pmu,ps2,pvspinlock,ras,smm,vmcoreinfo,vmport}: state
features/smm/tseg: # unit
features/gic: version
features/hpt: resizing
features/hpt/maxpagesize: # unit
features/ioapic: driver
features/msrs: unknown
features/tcg:
features/tcg/tb-cache: # unit
!features/hyperv: mode
features/hyperv/{avic,emsr_bitmap,evmcs,frequencies,ipi,reenlightenment,relaxed,reset,runtime,stimer,synic}: state
features/hyperv/{tlbflush,vapic,vpindex,xmm_input,stimer/direct,tlbflush/direct,tlbflush/extended}: state
features/hyperv/spinlocks: retries state
features/hyperv/vendor_id: state value
features/kvm:
features/kvm/{hidden,hint-dedicated,poll-control,pv-ipi}: state
features/kvm/dirty-ring: size state
features/xen:
features/xen/e820_host: state
features/xen/passthrough: mode state
!cpu: check deprecated_features match migratable mode
cpu/model: # fallback vendor_id
cpu/vendor: #
cpu/topology: clusters cores dies sockets threads
cpu/cache: level mode
cpu/feature: name policy
cpu/maxphysaddr: bits limit mode
cpu/numa:
cpu/numa/cell: cpus discard id memAccess memory unit
cpu/numa/cell/cache: associativity level policy
cpu/numa/cell/cache/{line,size}: unit value
cpu/numa/cell/distances:
cpu/numa/cell/distances/sibling: id value
cpu/numa/interconnects:
cpu/numa/interconnects/{bandwidth,latency}: cache initiator target type unit value
clock: adjustment basis offset start timezone
clock/timer: frequency mode name present tickpolicy track
clock/timer/catchup: limit slew threshold
!on_poweroff: #
{on_crash,on_lockfailure,on_reboot}: #
pm:
pm/{suspend-to-disk,suspend-to-mem}: enabled
perf:
perf/event: enabled name
keywrap:
keywrap/cipher: name state
!launchSecurity: authorKey kernelHashes type vcek
launchSecurity/{cbitpos,dhCert,guestVisibleWorkarounds,handle,hostData,idAuth,idBlock,policy}: #
launchSecurity/{reducedPhysBits,session,mrConfigId,mrOwner,mrOwnerConfig}: #
!launchSecurity/quoteGenerationService: path/
seclabel: model relabel type
seclabel/{label,imagelabel,baselabel}: #
!qemu:commandline:
qemu:commandline/qemu:arg: value/
qemu:commandline/qemu:env: name value/
qemu:capabilities:
qemu:capabilities/{qemu:add,qemu:del}: capability
qemu:deprecation: behavior
qemu:override:
qemu:override/qemu:device: alias
qemu:override/qemu:device/qemu:frontend:
!qemu:override/qemu:device/qemu:frontend/qemu:property: name type value/
"""


@dataclass(frozen=True)
class Known:
    """What is known of one element."""

    attributes: frozenset[str]
    text: bool
    paths: frozenset[str]
    """attributes, and `#` for the text, that may hold an absolute path"""
    needs_handler: bool

    def joined(self, other: Known) -> Known:
        return Known(
            self.attributes | other.attributes,
            self.text or other.text,
            self.paths | other.paths,
            self.needs_handler or other.needs_handler,
        )


def _alternatives(path: str) -> Iterator[str]:
    pieces = [piece[1:-1].split(",") if piece.startswith("{") else [piece] for piece in split(r"(\{[^}]*\})", path)]
    yield from ("".join(chosen) for chosen in product(*pieces))


def _read(table: str) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for line in filter(None, table.splitlines()):
        paths, _, attributes = line.partition(": ") if ": " in line else (line.removesuffix(":"), "", "")
        marked = attributes.split()
        names = frozenset(name.rstrip("/") for name in marked)
        with_paths = frozenset(name[:-1] for name in marked if name.endswith("/"))
        for written in paths.split():
            entry = Known(names - {"#"}, "#" in names, with_paths, written.startswith("!"))
            for path in _alternatives(written.removeprefix("!")):
                known[path] = entry if path not in known else known[path].joined(entry)
    return known


KNOWN: Mapping[str, Known] = _read(_GUEST + DEVICES)
"""by path, as the walk writes paths"""
