"""The walk over a definition: every element and attribute is accounted for, by the table or by a handler. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tools.domain.inventory.known import KNOWN, Known
from tools.domain.inventory.resource import Fate, Inventory, Outcome, Resource, ResourceKind, refuses
from tools.ports.shared_storage import SharedStorage

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
MOST_LEVELS = 100
"""libvirt's own definitions are about ten deep, a chain of backing images counted; a deeper one is not one of them"""

_IMAGE_PARENTS = ("backingStore", "mirror", "dataStore")
_CHARACTER_DEVICES = ("serial", "parallel", "console", "channel", "smartcard", "redirdev")
_WITH_DATA = (
    "devices/disk",
    "image/",
    "devices/filesystem",
    "devices/hostdev",
    "devices/memory",
    "devices/tpm",
    "os/nvram",
    "os/varstore",
    "qemu:",
)
"""places where content of the guest, or hardware, is named; what is unknown there may be left behind by a live move"""
_JUDGED_BY_QEMU = Fate(Outcome.PRESENT, "unknown to lifeboat; libvirt and QEMU judge it when the move begins")
_COMMON_TO_DEVICES = ("alias", "address", "acpi", "boot", "rom")


@dataclass(frozen=True)
class Place:
    """Where the walk is."""

    element: ET.Element
    path: str
    """as `known.py` writes it"""
    parents: tuple[ET.Element, ...]
    """from `<domain>` down to the element's parent"""
    storage: SharedStorage

    @property
    def root(self) -> ET.Element:
        return self.parents[0] if self.parents else self.element

    @property
    def parent(self) -> ET.Element:
        return self.parents[-1]

    @property
    def text(self) -> str:
        return (self.element.text or "").strip()

    def disk_target(self) -> str:
        """Target of the disk that this belongs to, such as `vda`; empty outside disks."""
        for above in (self.element, *reversed(self.parents)):
            if above.tag == "disk":
                target = above.find("target")
                return target.get("dev", "") if target is not None else ""
        return ""


Handler = Callable[[Place], Iterable[Resource]]
"""Accounts for one element and what it names: none for one that names nothing after all."""


def walk(
    root: ET.Element, storage: SharedStorage, handlers: Mapping[str, Handler], known: Mapping[str, Known] = KNOWN
) -> Inventory:
    """Everything a `<domain>` names on its host; what neither table nor handler knows is an unknown resource."""
    return Inventory(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        resources=tuple(_visit(Place(root, ".", (), storage), handlers, known)),
    )


def _visit(place: Place, handlers: Mapping[str, Handler], known: Mapping[str, Known]) -> Iterator[Resource]:
    entry, handler = known.get(place.path), handlers.get(place.path)
    if entry is None or (entry.needs_handler and handler is None):
        yield unknown(place, "this element")
        return
    if len(place.parents) > MOST_LEVELS:
        yield unknown(place, f"more than {MOST_LEVELS} levels of elements")
        return
    if handler is not None:
        yield from handler(place)
    for name, value in place.element.attrib.items():
        if name not in entry.attributes:
            yield unknown(place, f"its attribute {_shown(name)}")
        elif value.startswith("/") and name not in entry.paths:
            yield unknown(place, f"a path in its attribute {name}")
    if place.text and (not entry.text or (place.text.startswith("/") and "#" not in entry.paths)):
        yield unknown(place, "the text in it")
    if place.path == "metadata":  # its owner's, opaque to libvirt and QEMU; it goes along with the definition
        return
    for child in place.element:
        path = _path_of(child, place)
        yield from _visit(Place(child, path, (*place.parents, place.element), place.storage), handlers, known)


def unknown(place: Place, what: str) -> Resource:
    """The resource that stands for what nobody here understands. It refuses whatever stops the guest; a live move is
    left to libvirt and QEMU, which know their own devices and fail with the guest untouched, except where data of the
    guest may be meant."""
    name = "/".join(_shown(each.tag) for each in (*place.parents[1:], place.element))
    why = f"lifeboat does not know {what}, and what it may name on the host"
    return Resource(
        what=f"<{name}>",
        kind=ResourceKind.UNKNOWN,
        where="",
        live_migrate=refuses(why) if place.path.startswith(_WITH_DATA) else _JUDGED_BY_QEMU,
        cold_migrate=refuses(why),
        cold_archive=refuses(why),
        device=place.disk_target(),
    )


def _path_of(child: ET.Element, place: Place) -> str:
    """As the table writes it: places that look alike are written once."""
    tag, above = _shown(child.tag), place.path
    if tag == "source" and (above in ("devices/disk", "os/nvram") or above.rpartition("/")[2] in _IMAGE_PARENTS):
        return "image/source"
    if tag == "backingStore" and above in ("devices/disk/backingStore", "devices/disk/mirror"):
        return "devices/disk/backingStore"
    device = above.removeprefix("devices/")
    if tag in ("source", "protocol", "log") and (device in _CHARACTER_DEVICES or device == "rng/backend"):
        return f"char/{tag}"
    if tag in _COMMON_TO_DEVICES and above == f"devices/{device}" and "/" not in device:
        return f"devices/*/{tag}"
    return tag if above == "." else f"{above}/{tag}"


def _shown(name: str) -> str:
    return name.replace(f"{{{QEMU_NAMESPACE}}}", "qemu:")
