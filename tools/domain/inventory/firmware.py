"""What a guest boots from and keeps beside its disks: firmware, UEFI variables, kernel, TPM, firmware configuration."""

from __future__ import annotations

from collections.abc import Iterator

from tools.domain.inventory.images import Location, is_shared, location, unreadable
from tools.domain.inventory.registry import accounts_for
from tools.domain.inventory.resource import COPIED, PRESENT, SHARED, Fate, Resource, ResourceKind, refuses
from tools.domain.inventory.walk import Place, unknown

CHOSEN_BY_LIBVIRT = "chosen by libvirt"
"""in place of a path that libvirt fills in when the guest is defined or first starts"""


@accounts_for("os")
def firmware_chosen_by_libvirt(place: Place) -> Iterator[Resource]:
    """`firmware='efi'`: libvirt picks the firmware, and makes a file for its variables, at define or first start."""
    os = place.element
    if os.get("firmware") != "efi":
        return
    loader = os.find("loader")
    stateless = loader is not None and (loader.get("stateless") == "yes" or loader.get("type") == "rom")
    if loader is None or not (loader.text or "").strip():
        yield _firmware(CHOSEN_BY_LIBVIRT, PRESENT)
    if os.find("nvram") is None and os.find("varstore") is None and not stateless:
        yield Resource(
            what="UEFI variables",
            kind=ResourceKind.UEFI_VARIABLES,
            where=CHOSEN_BY_LIBVIRT,
            live_migrate=COPIED,
            cold_migrate=COPIED,
            cold_archive=COPIED,
            host_tells="where libvirt keeps the UEFI variables",
        )


@accounts_for("os/loader")
def loader(place: Place) -> Iterator[Resource]:
    element, where = place.element, place.text
    if not where:
        return
    if place.storage.holds(where):
        yield _firmware(where, SHARED)
    elif element.get("type") == "pflash" and element.get("readonly", "no") == "no":
        yield _firmware(where, refuses("it is writable and holds the guest's variables, which lifeboat does not copy"))
    else:
        yield _firmware(where, PRESENT)


def _firmware(where: str, fate: Fate) -> Resource:
    return Resource(
        what="firmware",
        kind=ResourceKind.FIRMWARE,
        where=where,
        live_migrate=fate,
        cold_migrate=fate,
        cold_archive=fate,
        host_tells=f"whether the target has this firmware ({where})" if fate == PRESENT else "",
    )


@accounts_for("os/nvram")
def uefi_variables(place: Place) -> Iterator[Resource]:
    """As text, or as a source of any type. In a live migration their content goes along with the guest's memory."""
    element = place.element
    if place.text:
        image: Location | None = Location(type="file", where=place.text)
    else:
        image = location(element.find("source"), element.get("type", "file"))
    if image is None:
        image = Location(type="file", where=CHOSEN_BY_LIBVIRT)
    yield _variables(place, image)


@accounts_for("os/varstore")
def varstore(place: Place) -> Iterator[Resource]:
    """Variables as QEMU's uefi-vars device keeps them, in one file."""
    yield _variables(place, Location(type="file", where=place.element.get("path", CHOSEN_BY_LIBVIRT)))


def _variables(place: Place, image: Location) -> Resource:
    cold = live = archive = COPIED
    if image.type != "file":
        why = f"UEFI variables on a source of type {image.type!r} can't be copied by lifeboat"
        cold = archive = refuses(why)
        live = SHARED if is_shared(image, place.storage) else refuses(unreadable(image) or why)
    elif is_shared(image, place.storage):
        live = cold = SHARED
    return Resource(
        what="UEFI variables",
        kind=ResourceKind.UEFI_VARIABLES,
        where=image.where,
        live_migrate=live,
        cold_migrate=cold,
        cold_archive=archive,
        host_tells=f"whether {image.where} can be read" if image.type == "file" else "",
    )


@accounts_for("os/kernel", "os/initrd", "os/dtb", "os/shim", "os/acpi/table")
def boot_file(place: Place) -> Iterator[Resource]:
    """QEMU reads it when it starts: at the target of a live migration, too."""
    if place.text:
        name = {"dtb": "device tree", "table": "ACPI table"}.get(place.element.tag, place.element.tag)
        yield _boot_file(place, name, place.text)


@accounts_for("sysinfo/entry")
def firmware_configuration(place: Place) -> Iterator[Resource]:
    """An entry of QEMU's fw_cfg: its value stands in the definition, or in a file of the host."""
    where = place.element.get("file")
    if where:
        yield _boot_file(place, f"firmware configuration {place.element.get('name', '')}", where)


def _boot_file(place: Place, what: str, where: str) -> Resource:
    shared = place.storage.holds(where)
    cold = SHARED if shared else COPIED
    return Resource(
        what=what,
        kind=ResourceKind.BOOT_FILE,
        where=where,
        live_migrate=SHARED if shared else PRESENT,
        cold_migrate=cold,
        cold_archive=cold,
        host_tells=f"whether a running storage pool holds {where}, and whether the target has the same",
    )


@accounts_for("devices/tpm")
def tpm(place: Place) -> Iterator[Resource]:
    backend = place.element.find("backend")
    backend_type = backend.get("type", "") if backend is not None else ""
    if backend is None or backend_type not in ("passthrough", "emulator", "external"):
        yield unknown(place, f"a TPM backend of type {backend_type!r}")
        return
    source = backend.find("source")
    if backend_type == "emulator":
        yield _tpm_state(place, source.get("path", "") if source is not None else "", source_type=_type_of(source))
        return
    device = backend.find("device")
    if backend_type == "passthrough":
        where = device.get("path", "/dev/tpm0") if device is not None else "/dev/tpm0"
        why = "its secrets are in the TPM of this host and can't leave it"
    else:
        where = source.get("path", "") if source is not None else ""
        why = "its state is with a process of this host that lifeboat does not know"
    yield Resource(
        what=f"{backend_type} TPM",
        kind=ResourceKind.HOST_DEVICE,
        where=where,
        live_migrate=refuses(why),
        cold_migrate=refuses(why),
        cold_archive=refuses(why),
    )


def _type_of(source: object) -> str:
    get = getattr(source, "get", None)
    return str(get("type", "dir")) if get is not None else "dir"


def _tpm_state(place: Place, where: str, *, source_type: str) -> Resource:
    """Of an emulated TPM; in a live migration it goes along with the guest."""
    shared = bool(where) and place.storage.holds(where)
    cold, archive = (SHARED if shared else COPIED), COPIED
    if source_type not in ("dir", "file"):
        cold = archive = refuses(f"lifeboat does not know where TPM state of type {source_type!r} is")
    return Resource(
        what="TPM state",
        kind=ResourceKind.TPM_STATE,
        where=where or CHOSEN_BY_LIBVIRT,
        live_migrate=SHARED if shared else COPIED,
        cold_migrate=cold,
        cold_archive=archive,
        host_tells=f"whether the TPM state ({where or CHOSEN_BY_LIBVIRT}) can be read",
    )


@accounts_for("launchSecurity")
def launch_security(place: Place) -> Iterator[Resource]:
    """Memory encrypted for this host: QEMU migrates none of it. Launch blobs are made for one platform."""
    element = place.element
    kind = element.get("type", "")
    if kind not in ("sev", "sev-snp", "s390-pv", "tdx"):
        yield unknown(place, f"launch security of type {kind!r}")
        return
    bound = element.find("dhCert") is not None or element.find("session") is not None
    cold = refuses("its launch session was made for this host's processor") if bound else PRESENT
    yield Resource(
        what="launchSecurity",
        kind=ResourceKind.LAUNCH_SECURITY,
        where=kind,
        live_migrate=refuses("the guest's memory is encrypted for this host"),
        cold_migrate=cold,
        cold_archive=cold,
        host_tells=f"whether the target's processor has {kind}",
    )


@accounts_for("launchSecurity/quoteGenerationService")
def quote_generation_service(place: Place) -> Iterator[Resource]:
    yield Resource(
        what="quote generation service",
        kind=ResourceKind.SOCKET,
        where=place.element.get("path", "libvirt's default"),
        live_migrate=PRESENT,
        cold_migrate=PRESENT,
        cold_archive=PRESENT,
        host_tells="whether the target has a quote generation service",
    )
