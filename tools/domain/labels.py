"""Labels: what an owner says of a vm in the libvirt domain's own `<metadata>`.

    <lifeboat:vm xmlns:lifeboat="https://lifeboat.dev/xmlns/vm/1.0" priority="high" workload="inference"
                 anti-affinity-group="chat" cold-archive="forbidden" probe="udp://10.0.0.5:7000"/>

Every attribute may be left out. A label that can't be read never hides its vm, nor the others: an operator with a
dying node must not be held up by one typing error. The attribute at fault is left aside with a warning, and whatever
is wrong in the label, the vm is not archived cold: consent that can't be read was not given.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from models.errors import BadInput
from models.fleet import Priority

NAMESPACE = "https://lifeboat.dev/xmlns/vm/1.0"
PREFIX = "lifeboat"
ATTEMPT_NAMESPACE = "https://lifeboat.dev/xmlns/attempt/1.0"
ATTEMPT_PREFIX = "lifeboat-attempt"

_STAMP = re.compile(rf"\s*<([\w-]+:)?attempt\b[^>]*{re.escape(ATTEMPT_NAMESPACE)}[^>]*/>")
_ATTRIBUTES = ("priority", "workload", "anti-affinity-group", "cold-archive", "probe")
_PROBE_SCHEMES = ("udp", "tcp", "http", "https")
_MAX_TEXT = 128


@dataclass(frozen=True)
class Labels:
    """What a label says; the defaults are what a vm without one gets."""

    priority: Priority = Priority.NORMAL
    workload: str = ""
    anti_affinity_group: str | None = None
    cold_archive_allowed: bool | None = None
    """None: the owner said neither yes nor no"""
    probe: str | None = None
    warning: str = ""
    """what could not be read, and what was assumed instead; empty when nothing"""


def read_labels(domain_xml: str | bytes) -> Labels:
    """The labels in a domain's XML, never raising for a label: what is wrong with it is in `warning`."""
    element = ET.fromstring(domain_xml).find(f"./metadata/{{{NAMESPACE}}}vm")  # noqa: S314 — libvirt wrote it
    if element is None:
        return Labels()
    labels, problems = _read(element)
    if not problems:
        return labels
    said = "; ".join(problems)
    return replace(labels, cold_archive_allowed=False, warning=f"{said}; left aside, and cold archive is off for it")


MAX_NOTE = 500
"""characters; what comes after is left out"""


def read_note(domain_xml: str | bytes) -> str:
    """What its owner wrote into a domain's title and description, in one line; empty where nothing is."""
    root = ET.fromstring(domain_xml)  # noqa: S314 — libvirt wrote it
    texts = (root.findtext(name) or "" for name in ("title", "description"))
    return " ".join(" ".join(texts).split())[:MAX_NOTE]


def check_labels(domain_xml: str) -> Labels:
    """As read_labels, but strict: raises BadInput naming the attribute at fault and what was expected."""
    labels = read_labels(domain_xml)
    if labels.warning:
        raise BadInput(f"label: {labels.warning}", hint=f"fix it with `virsh metadata VM {NAMESPACE} --edit`")
    return labels


def write_labels(labels: Labels) -> str:
    """The metadata element for these labels, without a prefix, as virDomainSetMetadata takes it."""
    said = {
        "priority": labels.priority.value,
        "workload": labels.workload or None,
        "anti-affinity-group": labels.anti_affinity_group,
        "cold-archive": {True: "allowed", False: "forbidden", None: None}[labels.cold_archive_allowed],
        "probe": labels.probe,
    }
    return ET.tostring(ET.Element("vm", {k: v for k, v in said.items() if v is not None}), encoding="unicode")


def read_attempt(domain_xml: str) -> str | None:
    """The id of the lifeboat attempt stamped into a domain's XML, if any."""
    element = ET.fromstring(domain_xml).find(f"./metadata/{{{ATTEMPT_NAMESPACE}}}attempt")  # noqa: S314
    return element.get("id") if element is not None else None


def without_attempt(domain_xml: str) -> str:
    """A domain's XML without lifeboat's stamp: as its owner made it. Everything else stays to the letter."""
    return _STAMP.sub("", domain_xml)


def write_attempt(attempt: str) -> str:
    """The metadata element for an attempt's id. A namespace of its own, so that stamping never rewrites the labels."""
    return ET.tostring(ET.Element("attempt", {"id": attempt}), encoding="unicode")


def _read(element: ET.Element) -> tuple[Labels, list[str]]:
    problems = [
        f"unknown attribute {_shown(name)} (known: {', '.join(_ATTRIBUTES)})"
        for name in element.keys()  # noqa: SIM118 — an Element is not a mapping
        if name not in _ATTRIBUTES
    ]
    labels = Labels()
    priority = element.get("priority")
    if priority is not None:
        try:
            labels = replace(labels, priority=Priority(priority))
        except ValueError:
            problems.append(f"priority {_shown(priority)} is none of {', '.join(Priority)}")
    consent = element.get("cold-archive")
    if consent in ("allowed", "forbidden"):
        labels = replace(labels, cold_archive_allowed=consent == "allowed")
    elif consent is not None:
        problems.append(f"cold-archive {_shown(consent)} is neither allowed nor forbidden")
    for attribute, field in (("workload", "workload"), ("anti-affinity-group", "anti_affinity_group")):
        text = element.get(attribute)
        if text is None or text == "":
            continue
        if len(text) > _MAX_TEXT or not text.isprintable():
            problems.append(f"{attribute} {_shown(text)} is longer than {_MAX_TEXT} characters or not printable")
        else:
            labels = replace(labels, **{field: text})
    probe = element.get("probe")
    if probe:
        trouble = _probe_trouble(probe)
        if trouble:
            problems.append(f"probe {_shown(probe)} {trouble}")
        else:
            labels = replace(labels, probe=probe)
    return labels, problems


def _probe_trouble(probe: str) -> str:
    expected = "is not like udp://10.0.0.5:7000, tcp://HOST:PORT or http://HOST/PATH"
    try:
        parts = urlsplit(probe)
        port = parts.port
    except ValueError:
        return expected
    if parts.scheme not in _PROBE_SCHEMES or not parts.hostname or not probe.isprintable():
        return expected
    if parts.scheme in ("udp", "tcp") and port is None:
        return "names no port"
    return ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
