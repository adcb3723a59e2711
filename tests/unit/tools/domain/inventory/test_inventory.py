"""What a definition names on its host, and what each kind of move does with it."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes.definitions import CEPH, EVERYTHING, LINUX, ROOT, WINDOWS, definition, disk

from models.errors import BadInput
from models.plan import ActionKind
from tools.domain.inventory.handlers import HANDLERS, take_inventory
from tools.domain.inventory.known import KNOWN
from tools.domain.inventory.resource import MOVES, Inventory, Outcome, ResourceKind
from tools.domain.inventory.walk import walk
from tools.ports.shared_storage import SharedStorage

LIVE, COLD, ARCHIVE = MOVES
NFS = SharedStorage(paths=("/srv/nfs",))


def refused(inventory: Inventory) -> str:
    """L, C and A for each kind that is refused."""
    return "".join(letter for letter, move in zip("LCA", MOVES, strict=True) if inventory.obstacle(move) is not None)


@pytest.mark.parametrize("xml", [LINUX, WINDOWS], ids=["linux", "windows"])
def test_ordinary_guests_move_in_every_way(xml: str):
    assert refused(take_inventory(xml)) == ""


def test_a_guest_on_ceph_moves_and_its_data_needs_no_archive():
    inventory = take_inventory(CEPH)
    assert refused(inventory) == "A"
    (network_disk,) = inventory.of(ResourceKind.DISK)
    assert network_disk.live_migrate.outcome is network_disk.cold_migrate.outcome is Outcome.SHARED
    assert [each.where for each in inventory.of(ResourceKind.SECRET)] == ["0c3d8f7a-0001-4000-8000-0123456789ab"]


def hostdev(kind: str, source: str, more: str = "") -> str:
    return f"<hostdev mode='subsystem' type='{kind}' managed='yes'><source>{source}</source>{more}</hostdev>"


PCI = "<address domain='0x0000' bus='0x03' slot='0x00' function='0x0'/>"
TRANSIENT = "<teaming type='transient' persistent='ua-backup'/>"
NBD_HERE = "<source protocol='nbd' name='a'><host {host}/></source>"

LUKS = "<source file='/i/a'><encryption format='luks'><secret type='passphrase' usage='u'/></encryption></source>"
OVERLAY = "<backingStore type='file'><format type='qcow2'/><source file='/i/base'/></backingStore>"
DATA_FILE = (
    "<source file='/i/a'><dataStore type='file'><format type='raw'/><source file='/i/a.raw'/></dataStore></source>"
)
HTTP = "<source protocol='https' name='/a.iso'><host name='mirror.example.net'/></source>"

GUESTS = [
    # data that is in no file lifeboat can copy
    (disk("<source type='unix' path='/run/spdk.0'/>", type="vhostuser", format="raw"), "LCA"),
    (disk(f"<source type='pci' namespace='1'>{PCI}</source>", type="nvme", format="raw"), "LCA"),
    (disk("<source dev='/dev/vhost-vdpa-0'/>", type="vhostvdpa", format="raw"), "LCA"),
    (disk("<source dir='/srv/fat'/>", type="dir", format="fat"), "LCA"),
    (disk("<source file='/i/a.vmdk'/>", format="vmdk"), "LCA"),
    (disk("", format="raw"), "LCA"),
    (hostdev("scsi", "<adapter name='scsi_host5'/><address bus='0' target='0' unit='7'/>"), "LCA"),
    # a server on this host is no shared storage
    (disk(NBD_HERE.format(host="name='127.0.0.1' port='10809'"), type="network", format="raw"), "LCA"),
    (disk(NBD_HERE.format(host="transport='unix' socket='/run/nbd'"), type="network", format="raw"), "LCA"),
    (disk("<source protocol='nbd' name='a'/>", type="network", format="raw"), "LCA"),
    (disk(NBD_HERE.format(host="name='192.0.2.9' port='10809'"), type="network", format="raw"), "A"),
    # where a disk lies, and what it is
    (disk("<source file='/i/a'/>", more="<shareable/>"), "LCA"),
    (disk("<source file='/srv/nfs/a'/>", more="<shareable/>"), "A"),
    (disk("<source file='/srv/nfs/a'/>"), ""),
    (disk("<source file='/srv/nfs/a.vmdk'/>", format="vmdk"), "LA"),
    (disk("<source file='/srv/nfs/a.vdi'/>", format="vdi", more="<readonly/>"), "L"),
    ("<iommu model='amd'/>", "L"),
    ("<iommu model='intel'><driver intremap='on'/></iommu>", ""),
    (disk("<source file='/srv/nfs/../local/a'/>", more="<shareable/>"), "LCA"),
    (disk("<source file='/i/a'/>", more="<transient/>"), "L"),
    (disk("<source file='/i/a'/>", more="<readonly/>"), ""),
    (disk("<source dev='/dev/sdb'/>", type="block", format="raw"), "LC"),
    (disk("<source dev='/dev/disk/by-id/wwn-0x5'/>", type="block", format="raw"), "LC"),
    (disk("<source dev='/dev/vg/a'/>", type="block", format="raw"), ""),
    (disk("<source pool='fast' volume='a'/>", type="volume"), ""),
    (disk(LUKS), "L"),
    (disk("<source file='/i/a'/>", more=OVERLAY), "L"),
    (disk(DATA_FILE), "LCA"),
    (disk("<source file='/i/a'/>", more="<mirror type='file' job='copy'><source file='/i/b'/></mirror>"), "LCA"),
    (disk("<source file='/iso/a.iso'/>", device="cdrom", format="raw"), ""),
    (disk("", device="cdrom", format="raw"), ""),
    (disk("<source dev='/dev/sr0'/>", type="block", device="cdrom", format="raw"), "LCA"),
    (disk("<source dev='/dev/sr0' startupPolicy='optional'/>", type="block", device="cdrom", format="raw"), ""),
    (disk(HTTP, type="network", device="cdrom"), ""),
    # hardware of this host
    (hostdev("pci", PCI), "LCA"),
    (hostdev("pci", PCI, TRANSIENT), "CA"),
    (hostdev("usb", "<vendor id='0x1050'/><product id='0x0407'/>"), "LCA"),
    (hostdev("mdev", "<address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/>"), "LCA"),
    ("<hostdev mode='capabilities' type='misc'><source><char>/dev/input/event3</char></source></hostdev>", "LCA"),
    (f"<interface type='hostdev' managed='yes'><source>{PCI}</source></interface>", "LCA"),
    (f"<interface type='hostdev' managed='yes'><source>{PCI}</source>{TRANSIENT}</interface>", "CA"),
    ("<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>", "LCA"),
    ("<input type='evdev'><source dev='/dev/input/event1'/></input>", "LCA"),
    ("<input type='passthrough' bus='virtio'><source evdev='/dev/input/event1'/></input>", "LCA"),
    ("<serial type='dev'><source path='/dev/ttyS0'/></serial>", "LCA"),
    ("<parallel type='dev'><source path='/dev/parport0'/></parallel>", "LCA"),
    ("<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>", "LCA"),
    ("<tpm><backend type='external'><source type='unix' mode='connect' path='/run/tpm.sock'/></backend></tpm>", "LCA"),
    ("<smartcard mode='host'/>", "LCA"),
    # content beside the disks
    ("<filesystem type='mount'><source dir='/srv/d'/><target dir='d'/></filesystem>", "LCA"),
    ("<filesystem type='mount'><source dir='/srv/nfs/d'/><target dir='d'/></filesystem>", "L"),
    ("<filesystem type='mount'><driver type='virtiofs'/><source dir='/srv/d'/><target dir='d'/></filesystem>", "LCA"),
    ("<memory model='nvdimm'><source><path>/srv/nv</path></source><target><size>1</size></target></memory>", "LCA"),
    ("<pstore backend='acpi-erst'><path>/srv/ps</path><size>8</size></pstore>", "CA"),
    ("<lease><lockspace>l</lockspace><key>k</key><target path='/srv/lock'/></lease>", "LCA"),
    ("<lease><lockspace>l</lockspace><key>k</key><target path='/srv/nfs/lock'/></lease>", ""),
    # what only live moves can't
    ("<shmem name='peer'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>", "L"),
    ("<shmem name='own' role='master'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>", ""),
    ("<video><model type='virtio'><acceleration accel3d='yes'/></model></video>", "L"),
    ("<video><model type='virtio'><acceleration accel3d='no'/></model></video>", ""),
    ("<crypto model='virtio' type='qemu'><backend model='builtin'/></crypto>", "L"),
    ("<memory model='sgx-epc'><target><size unit='KiB'>65536</size></target></memory>", "L"),
    # what the target has to have, and holds nothing of the guest's
    ("<interface type='vhostuser'><source type='unix' path='/run/ovs/1' mode='client'/></interface>", ""),
    ("<interface type='direct'><source dev='eno1' mode='bridge'/></interface>", ""),
    ("<serial type='file'><source path='/var/log/guest.log'/></serial>", ""),
    ("<serial type='unix'><source mode='connect' path='/srv/s.sock'/></serial>", ""),
    ("<graphics type='vnc' port='5901' autoport='no' listen='192.0.2.7'/>", ""),
    # not known
    ("<teleporter/>", "CA"),
    ("<interface type='teleport'/>", "CA"),
    ("<serial type='nmdm'><source master='/dev/nmdm0A' slave='/dev/nmdm0B'/></serial>", "CA"),
    (disk("<source file='/i/a' elsewhere='/i/b'/>"), "LCA"),
    (disk("<source file='/i/a'/>", more="<teleporter/>"), "LCA"),
    (disk("<source file='/i/a'/>", type="teleport"), "LCA"),
    ("<filesystem type='teleport'><source dir='/srv/nfs/d'/></filesystem>", "LCA"),
    ("<memory model='teleport'/>", "LCA"),
    ("<sound model='ich9' firmware='/srv/sound.bin'/>", "CA"),
    ("<controller type='scsi' model='/srv/model'/>", "CA"),
]  # fmt: skip


@pytest.mark.parametrize(("devices", "expected"), GUESTS)
def test_what_each_device_keeps_its_guest_from(devices: str, expected: str):
    assert refused(take_inventory(definition(devices), NFS)) == expected


OS_AND_REST = [
    ("<nvram>/srv/VARS.fd</nvram>", "", ""),
    ("<nvram type='file'><source file='/srv/VARS.fd'/></nvram>", "", ""),
    ("<nvram type='network'><source protocol='iscsi' name='iqn.2026-01.net:1/0'><host name='h'/></source></nvram>", "", "CA"),
    ("<nvram type='block'><source dev='/dev/vg/vars'/></nvram>", "", "LCA"),
    ("<varstore path='/srv/vars.json'/>", "", ""),
    ("<loader readonly='no' type='pflash'>/srv/whole.fd</loader>", "", "LCA"),
    ("<kernel>/boot/vmlinuz</kernel><initrd>/boot/initrd</initrd><cmdline>root=/dev/vda</cmdline>", "", ""),
    ("", "<launchSecurity type='sev'><policy>0x3</policy></launchSecurity>", "L"),
    ("", "<launchSecurity type='sev'><policy>0x3</policy><session>AAA=</session></launchSecurity>", "LCA"),
    ("", "<launchSecurity type='moon'/>", "CA"),
    ("", "<cpu mode='host-passthrough' migratable='off'/>", "L"),
    ("", "<cpu><feature name='invtsc' policy='require'/></cpu>", "L"),
    ("", "<cpu><feature name='invtsc' policy='require'/></cpu><clock><timer name='tsc'/></clock>", "L"),
    ("", "<cpu><feature name='invtsc' policy='require'/></cpu><clock><timer name='tsc' frequency='2600000000'/></clock>", ""),
    ("", "<on_poweroff>restart</on_poweroff>", ""),
    ("", "<on_poweroff>preserve</on_poweroff>", "CA"),
    ("", "<on_poweroff>destroy</on_poweroff>", ""),
    ("", "<qemu:commandline><qemu:arg value='-drive'/><qemu:arg value='file=/srv/h.img'/></qemu:commandline>", "LCA"),
    ("", "<qemu:commandline><qemu:arg value='-device'/><qemu:arg value='x'/></qemu:commandline>", "LCA"),
    ("", "<qemu:commandline><qemu:arg value='-global'/><qemu:arg value='ICH9-LPC.disable_s3=1'/></qemu:commandline>", ""),
    ("", "<features><hyperv mode='passthrough'/></features>", "L"),
    ("", "<qemu:commandline><qemu:arg value='-usb'/><qemu:arg value='-no-hpet'/></qemu:commandline>", ""),
    ("", "<qemu:commandline><qemu:arg value='-snapshot'/></qemu:commandline>", "LCA"),
    ("", "<qemu:commandline><qemu:arg value='-usb'/><qemu:arg value='x'/></qemu:commandline>", "LCA"),
    ("", "<features><hyperv mode='custom'><relaxed state='on'/></hyperv></features>", ""),
    ("", "<qemu:commandline><qemu:arg value='-smbios'/><qemu:arg value='type=2'/></qemu:commandline>", ""),
    ("", "<qemu:commandline><qemu:arg value='-smbios'/><qemu:arg value='file=bios.bin'/></qemu:commandline>", "LCA"),
    ("", "<qemu:commandline><qemu:arg value='-device'/><qemu:arg value='isa-applesmc,osk=x'/></qemu:commandline>", ""),
    ("", "<qemu:commandline><qemu:arg value='-device'/><qemu:arg value='usb-tablet,chardev=c'/></qemu:commandline>", "LCA"),
    ("", "<qemu:commandline><qemu:arg value='-cpu'/><qemu:arg value='host,kvm=off'/></qemu:commandline>", ""),
    ("", "<qemu:commandline><qemu:arg value='-cpu'/><qemu:arg value='host,+invtsc'/></qemu:commandline>", "L"),
    ("", "<qemu:commandline><qemu:arg value='-cpu'/><qemu:arg value='host,migratable=no'/></qemu:commandline>", "L"),
    ("", "<qemu:commandline><qemu:env name='LD_PRELOAD' value='/srv/x.so'/></qemu:commandline>", "LCA"),
    ("", "<vmware:datacenterpath xmlns:vmware='http://libvirt.org/schemas/domain/vmware/1.0'>x</vmware:datacenterpath>", "CA"),
    ("", "<memoryBacking><hugepages/><source type='memfd'/><access mode='shared'/></memoryBacking>", ""),
]  # fmt: skip


@pytest.mark.parametrize(("os", "more", "expected"), OS_AND_REST)
def test_what_firmware_processor_and_the_rest_keep_a_guest_from(os: str, more: str, expected: str):
    assert refused(take_inventory(definition(ROOT, os=os, more=more))) == expected


@pytest.mark.parametrize("kind", ["xen", "lxc", "bhyve", ""])
def test_guests_of_other_hypervisors_are_left_alone(kind: str):
    assert refused(take_inventory(definition(kind=kind))) == "LCA"


def test_variables_named_by_a_source_are_copied_from_where_they_are():
    xml = definition(ROOT, os="<nvram type='file'><source file='/srv/VARS.fd'/></nvram>")
    (variables,) = take_inventory(xml).of(ResourceKind.UEFI_VARIABLES)
    assert (variables.where, variables.cold_migrate.outcome, variables.cold_archive.outcome) == (
        "/srv/VARS.fd", Outcome.COPIED, Outcome.COPIED,
    )  # fmt: skip


def test_kernel_and_medium_go_along_cold_and_have_to_be_at_a_live_target():
    xml = definition(disk("<source file='/iso/a.iso'/>", device="cdrom", format="raw"), os="<kernel>/boot/k</kernel>")
    for each in take_inventory(xml).of(ResourceKind.BOOT_FILE, ResourceKind.MEDIUM):
        fates = tuple(each.fate(move).outcome for move in MOVES)
        assert fates == (Outcome.PRESENT, Outcome.COPIED, Outcome.COPIED)


def test_an_archive_says_that_the_secret_of_an_encrypted_disk_is_not_in_it():
    source = (
        "<source file='/i/a'><encryption format='luks'><secret type='passphrase' uuid='s-1'/></encryption></source>"
    )
    inventory = take_inventory(definition(disk(source)))
    assert inventory.obstacle(ARCHIVE) is None
    assert any("s-1" in line for line in inventory.left_out())


# ---- nothing is passed over ----


def test_the_sample_of_everything_reaches_every_handler():
    for path in HANDLERS:
        without = {at: handler for at, handler in HANDLERS.items() if at != path}
        more = len(take_inventory(EVERYTHING, handlers=without).of(ResourceKind.UNKNOWN))
        assert more > len(take_inventory(EVERYTHING).of(ResourceKind.UNKNOWN)), path


@pytest.mark.parametrize("path", sorted(HANDLERS))
def test_without_one_of_the_handlers_a_guest_that_needs_it_neither_moves_cold_nor_is_archived(path: str):
    without = {at: handler for at, handler in HANDLERS.items() if at != path}
    inventory = take_inventory(EVERYTHING, handlers=without)
    (unknown,) = {each.what for each in inventory.of(ResourceKind.UNKNOWN)}
    assert unknown in (inventory.obstacle(ActionKind.COLD_MIGRATE) or "")
    assert unknown in (inventory.obstacle(ActionKind.COLD_ARCHIVE) or "")


@pytest.mark.parametrize("xml", [LINUX, WINDOWS, CEPH], ids=["linux", "windows", "ceph"])
def test_without_one_line_of_what_is_known_an_ordinary_guest_that_has_it_is_refused(xml: str):
    seen: set[str] = set()

    class Noting(dict[str, object]):
        def get(self, key: str, default: object = None) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
            seen.add(key)
            return super().get(key, default)

    root = ET.fromstring(xml)
    walk(root, SharedStorage(), HANDLERS, Noting(KNOWN))  # pyright: ignore[reportArgumentType]
    for path in seen:
        known = {at: entry for at, entry in KNOWN.items() if at != path}
        inventory = walk(root, SharedStorage(), HANDLERS, known)
        assert inventory.obstacle(COLD) is not None, path
        assert inventory.obstacle(ARCHIVE) is not None, path


@settings(deadline=None)
@given(st.data())
def test_anything_unknown_anywhere_outside_the_metadata_refuses(data: st.DataObject):
    root = ET.fromstring(data.draw(st.sampled_from([LINUX, WINDOWS])))
    metadata = root.find("metadata")
    inside = set(metadata.iter()) if metadata is not None else set[ET.Element]()
    element = data.draw(st.sampled_from([each for each in root.iter() if each not in inside]))
    match data.draw(st.sampled_from(["element", "attribute", "namespace"])):
        case "element":
            ET.SubElement(element, "teleporter")
        case "namespace":
            ET.SubElement(element, "{urn:elsewhere}source")
        case _:
            element.set("teleporter", "on")
    inventory = take_inventory(ET.tostring(root))
    assert refused(inventory) in ("CA", "LCA")


TAGS = sorted({part for path in KNOWN for part in path.split("/") if part.isidentifier()})
ATTRIBUTES = st.dictionaries(st.sampled_from(["type", "dev", "file", "mode"]), st.text("/ab1"))


def _parent(tag: str, children: list[ET.Element]) -> ET.Element:
    element = ET.Element(tag)
    element.extend(children)
    return element


trees = st.recursive(
    st.builds(ET.Element, st.sampled_from(TAGS), ATTRIBUTES),
    lambda below: st.builds(_parent, st.sampled_from(TAGS), st.lists(below, max_size=4)),
    max_leaves=20,
)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(trees, max_size=5))
def test_no_arrangement_of_elements_makes_it_fail(children: list[ET.Element]):
    root = ET.Element("domain", type="kvm")
    ET.SubElement(root, "name").text = "odd"
    root.extend(children)
    assert take_inventory(ET.tostring(root)).name == "odd"


def test_a_definition_nested_without_end_is_refused_and_does_not_exhaust_anything():
    deep = "<backingStore type='file'><format type='qcow2'/><source file='/i/a'/>" * 5000 + "</backingStore>" * 5000
    assert refused(take_inventory(definition(disk("<source file='/i/a'/>", more=deep)))) == "LCA"


@pytest.mark.parametrize(
    "text",
    ["", "<domain", "<network><name>x</name></network>", "<domain type='kvm'/>", "<domain><name> </name></domain>"],
)
def test_what_is_no_definition_is_bad_input(text: str):
    with pytest.raises(BadInput, match="not a libvirt domain"):
        take_inventory(text)
