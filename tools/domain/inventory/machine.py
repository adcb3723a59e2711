"""The guest as a whole: its kind, emulator, processor, where it may run on the host, what happens when it stops."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tools.domain.inventory.registry import accounts_for
from tools.domain.inventory.resource import COPIED, PRESENT, Fate, Resource, ResourceKind, refuses
from tools.domain.inventory.walk import Place, unknown

_QEMU_TYPES = ("kvm", "qemu", "hvf")
_DEFAULT_PARTITION = "/machine"


def needed(kind: ResourceKind, what: str, where: str, *, tells: str, live: Fate = PRESENT) -> Resource:
    """Something of the host that holds nothing of the guest's: the target has to have its own."""
    return Resource(
        what=what,
        kind=kind,
        where=where,
        live_migrate=live,
        cold_migrate=PRESENT,
        cold_archive=PRESENT,
        host_tells=tells,
    )


@accounts_for(".")
def guest(place: Place) -> Iterator[Resource]:
    kind = place.element.get("type", "")
    if kind not in _QEMU_TYPES:
        fate = refuses("lifeboat moves guests of QEMU only")
        yield Resource(
            what=f"guest of type {kind!r}",
            kind=ResourceKind.GUEST,
            where="",
            live_migrate=fate,
            cold_migrate=fate,
            cold_archive=fate,
        )


@accounts_for("devices/emulator")
def emulator(place: Place) -> Iterator[Resource]:
    where = place.text
    if where:
        yield needed(
            ResourceKind.EMULATOR, "emulator", where, tells=f"whether the target has {where} and the machine type"
        )


@accounts_for("cpu")
def cpu(place: Place) -> Iterator[Resource]:
    """https://libvirt.org/formatdomain.html#cpu-model-and-topology; for invtsc, qemuMigrationSrcIsAllowed of libvirt."""
    element = place.element
    mode = element.get("mode", "custom" if element.find("model") is not None else "")
    live = PRESENT
    if element.get("migratable") == "off":
        live = refuses("the CPU is declared migratable='off'")
    named = element.findall("./feature[@name='invtsc']")
    invtsc = any(feature.get("policy", "require") in ("require", "force") for feature in named)
    timers = place.root.findall("./clock/timer[@name='tsc']")
    if invtsc and not any(timer.get("frequency", "0") not in ("", "0") for timer in timers):
        live = refuses("CPU feature invtsc without a fixed TSC frequency")
    if mode or element.find("feature") is not None or live != PRESENT:
        where = element.findtext("model", "") or mode
        yield needed(
            ResourceKind.CPU, "CPU", where, tells="whether the target's CPU has what the guest's has", live=live
        )


@accounts_for("features/hyperv")
def hyperv(place: Place) -> Iterator[Resource]:
    """All that the host's QEMU has: it adds a migration blocker for that (hyperv_init_vcpu in its target/i386)."""
    if place.element.get("mode") == "passthrough":
        live = refuses("QEMU moves no guest live that has the Hyper-V features of its host, whichever these are")
        tells = "whether the target's Hyper-V features are those that the guest knows"
        yield needed(ResourceKind.CPU, "Hyper-V features", "passthrough", tells=tells, live=live)


@accounts_for("devices/iommu")
def iommu(place: Place) -> Iterator[Resource]:
    """QEMU's AMD IOMMU could not be moved before its 10.2 (hw/i386/amd_iommu.c: unmigratable)."""
    if place.element.get("model") == "amd":
        live = refuses("QEMU moves no guest live that has an emulated AMD IOMMU")
        yield needed(ResourceKind.EMULATOR, "AMD IOMMU", "amd", tells="whether the target's QEMU has it", live=live)


@accounts_for("vcpu", "cputune/vcpupin", "cputune/emulatorpin", "cputune/iothreadpin")
def host_cpus(place: Place) -> Iterator[Resource]:
    cpus = place.element.get("cpuset")
    if cpus:
        what = {"vcpu": "processors", "vcpupin": "pinned processors"}.get(place.element.tag, "pinned threads")
        yield needed(ResourceKind.HOST_CPUS, what, cpus, tells=f"whether the target has the CPUs {cpus}")


@accounts_for("numatune/memory", "numatune/memnode")
def numa_nodes(place: Place) -> Iterator[Resource]:
    nodes = place.element.get("nodeset")
    if nodes:
        yield needed(
            ResourceKind.NUMA_NODES, "memory", nodes, tells=f"whether the target has NUMA nodes {nodes} with room"
        )


@accounts_for("cputune/cachetune", "cputune/memorytune")
def cache_allocation(place: Place) -> Iterator[Resource]:
    what = "share of the processor's cache" if place.element.tag == "cachetune" else "share of memory bandwidth"
    yield needed(
        ResourceKind.HOST_CPUS, what, "resctrl", tells="whether the target allocates cache and bandwidth (resctrl)"
    )


@accounts_for("memoryBacking")
def memory_backing(place: Place) -> Iterator[Resource]:
    element = place.element
    if element.find("hugepages") is not None:
        sizes = [f"{page.get('size', '')} {page.get('unit', 'KiB')}" for page in element.findall("./hugepages/page")]
        yield needed(
            ResourceKind.MEMORY_BACKING, "hugepages", ", ".join(sizes) or "the host's default",
            tells="whether the target has such hugepages free, in the NUMA nodes where they have to be",
        )  # fmt: skip
    source = element.find("source")
    if source is not None and source.get("type") not in ("file", "anonymous", "memfd"):
        yield unknown(place, f"memory backing of type {source.get('type')!r}")
    elif source is not None and source.get("type") == "file":
        # made anew at every start; holds nothing but the memory of a running guest
        yield Resource(
            what="memory file",
            kind=ResourceKind.MEMORY_BACKING,
            where="libvirt's memory_backing_dir",
            live_migrate=COPIED,
            cold_migrate=PRESENT,
            cold_archive=PRESENT,
        )


@accounts_for("blkiotune/device/path")
def tuned_device(place: Place) -> Iterator[Resource]:
    yield needed(ResourceKind.HOST_FILE, "tuned device", place.text, tells=f"whether the target has {place.text}")


@accounts_for("resource/partition")
def partition(place: Place) -> Iterator[Resource]:
    if place.text and place.text != _DEFAULT_PARTITION:
        yield needed(
            ResourceKind.HOST_FILE, "cgroup partition", place.text, tells=f"whether the target has {place.text}"
        )


@accounts_for("on_poweroff")
def on_poweroff(place: Place) -> Iterator[Resource]:
    """`restart` starts a guest again that was shut down to be copied, so it is held while one is stopped. libvirt's QEMU
    driver takes no third word; one that a later libvirt brings may do anything."""
    if place.text in ("", "destroy"):
        return
    cold = COPIED
    if place.text != "restart":
        cold = refuses(f"on_poweroff={place.text!r}: a guest that is stopped to be copied may not stay off")
    yield Resource(
        what="lifecycle action",
        kind=ResourceKind.LIFECYCLE,
        where=f"on_poweroff {place.text}",
        live_migrate=COPIED,
        cold_migrate=cold,
        cold_archive=cold,
    )


@accounts_for("qemu:commandline")
def qemu_arguments(place: Place) -> Iterator[Resource]:
    """Arguments and environment for QEMU that libvirt passes on unread: a drive may hide in them."""
    values = [argument.get("value", "") for argument in place.element if argument.tag.endswith("}arg")]
    variables = [(each.get("name", ""), each.get("value", "")) for each in place.element if each.tag.endswith("}env")]
    for option, value in _options(values):
        if not _harmless(option, value):
            yield _argument(f"{option} {value}".strip())
        elif option == "-cpu" and _NOT_LIVE_CPU.search(value):
            yield needed(
                ResourceKind.QEMU_ARGUMENT,
                "QEMU argument",
                f"{option} {value}",
                tells="whether the target's CPU has what the guest's has",
                live=refuses("QEMU moves no guest live that has this CPU"),
            )
    for name, value in variables:
        if name not in _HARMLESS_VARIABLES or "/" in value:
            yield _argument(f"{name}={value}")


_HARMLESS_OPTIONS = ("-global", "-cpu", "-rtc", "-boot", "-machine", "-smp", "-accel", "-msg", "-name", "-smbios")
"""they set properties of the machine; with no path in their value, they name nothing on the host"""
_HARMLESS_SWITCHES = ("-usb", "-nodefaults", "-no-user-config", "-no-hpet", "-no-acpi", "-enable-kvm")
_HARMLESS_DEVICES = (
    "isa-applesmc", "usb-kbd", "usb-mouse", "usb-tablet", "qemu-xhci", "nec-usb-xhci", "usb-hub", "ich9-intel-hda",
    "hda-duplex", "hda-micro", "hda-output",
)  # fmt: skip
"""devices that are whole by themselves, with nothing of the host behind them"""
_NAMES_A_HOST_THING = re.compile(r"/|(?:file|path|drive|netdev|chardev|memdev|host|fd|audiodev)=")
_NOT_LIVE_CPU = re.compile(r"\+invtsc|invtsc=on|migratable=(?:off|no)|hv[-_]passthrough")
"""as QEMU's own migration blockers in target/i386 have it"""
_HARMLESS_VARIABLES = ("QEMU_AUDIO_DRV",)


def _harmless(option: str, value: str) -> bool:
    """Whether an argument names nothing on the host, as far as its text tells."""
    if _NAMES_A_HOST_THING.search(value):
        return False
    if option in _HARMLESS_SWITCHES:
        return value == ""
    return option in _HARMLESS_OPTIONS or (option == "-device" and value.split(",")[0] in _HARMLESS_DEVICES)


def _options(values: list[str]) -> Iterator[tuple[str, str]]:
    """Options with their values. QEMU takes `--option` for `-option`."""
    at = 0
    while at < len(values):
        option = values[at]
        if option.startswith("-") and at + 1 < len(values) and not values[at + 1].startswith("-"):
            yield option.replace("--", "-", 1), values[at + 1]
            at += 2
        else:
            yield option.replace("--", "-", 1), ""
            at += 1


@accounts_for("qemu:override/qemu:device/qemu:frontend/qemu:property")
def qemu_property(place: Place) -> Iterator[Resource]:
    value = place.element.get("value", "")
    if place.element.get("type") == "string" and ("/" in value or "=" in value):
        yield _argument(f"{place.element.get('name', '')}={value}")


def _argument(text: str) -> Resource:
    fate = refuses("QEMU gets it unread by libvirt, and it may name something on the host, such as a drive")
    return Resource(
        what="QEMU argument",
        kind=ResourceKind.QEMU_ARGUMENT,
        where=text,
        live_migrate=fate,
        cold_migrate=fate,
        cold_archive=fate,
    )
