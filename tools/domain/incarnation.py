"""Which life of a guest this is: what was learned of it holds until it is started anew or its devices change. Pure."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET

_PASSING_ELEMENTS = frozenset(
    {"metadata", "currentMemory", "iotune", "mirror", "seclabel", "current", "title", "description"}
)
"""what changes in a running guest's definition while the guest stays the same: balloon, limits, block jobs, labels, notes"""
_PASSING_ATTRIBUTES = frozenset({("target", "state"), ("vcpu", "current")})
"""whether something in the guest holds a channel open, and how many processors are plugged in"""


def incarnation_of(*definitions: str) -> str:
    """A short digest of a guest's definitions, as it runs (libvirt's id changes with each start) and as it is kept; empty for
    one that can't be read."""
    digest = hashlib.sha256()
    for definition in definitions:
        try:
            root = ET.fromstring(definition)  # noqa: S314 — libvirt wrote it
        except ET.ParseError:
            return ""
        _strip(root)
        digest.update(ET.canonicalize(ET.tostring(root, encoding="unicode"), strip_text=True).encode())
    return digest.hexdigest()[:16]


def _strip(element: ET.Element) -> None:
    for name, attribute in _PASSING_ATTRIBUTES:
        if element.tag == name:
            element.attrib.pop(attribute, None)
    for child in list(element):
        if child.tag in _PASSING_ELEMENTS:
            element.remove(child)
        else:
            _strip(child)
