"""Every handler, and the inventory of a definition with all of them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

from models.errors import BadInput
from tools.domain.inventory import channels, devices, disks, firmware, machine
from tools.domain.inventory.registry import REGISTERED
from tools.domain.inventory.resource import Inventory
from tools.domain.inventory.walk import Handler, walk
from tools.ports.shared_storage import SharedStorage

_MODULES = (channels, devices, disks, firmware, machine)  # registered as they are imported
HANDLERS: Mapping[str, Handler] = dict(REGISTERED)

_HINT = "expected the XML of `virsh dumpxml`"


def take_inventory(
    xml: str | bytes, storage: SharedStorage | None = None, *, handlers: Mapping[str, Handler] = HANDLERS
) -> Inventory:
    """Everything a definition names on its host, and what each kind of move does with it. Raises BadInput when it is
    not a `<domain>`."""
    try:
        root = ET.fromstring(xml)  # noqa: S314 — expat refuses entities that grow
    except (ET.ParseError, ValueError) as error:
        raise BadInput(f"not a libvirt domain: {error}", hint=_HINT) from error
    if root.tag != "domain" or not (root.findtext("name") or "").strip():
        raise BadInput(f"not a libvirt domain: <{root.tag}> without a name", hint=_HINT)
    return walk(root, storage or SharedStorage(), handlers)
