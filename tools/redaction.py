"""Names, addresses and serial numbers out of what is handed to strangers: the same one becomes the same word everywhere.

What is known by name (nodes, vms) is replaced wherever it stands, what is known by its form (addresses, identifiers) where it
has that form. PCI and SCSI addresses, device names and figures stay: they say which part it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("uuid", re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")),
    ("mac", re.compile(r"(?<![0-9a-fA-F:])(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}(?![0-9a-fA-F:])")),
    (
        "address",
        re.compile(
            r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])"
            r"|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){1,6}:(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4})*)?(?![\w:])"
        ),
    ),
    ("name", re.compile(r"\b(?:iqn|eui|naa)\.[\w.:-]+", re.IGNORECASE)),
    ("wwn", re.compile(r"\b(?:0x)?5[0-9a-fA-F]{15}\b|(?<=WWN:)[0-9a-fA-F-]+")),
    (
        "serial",
        re.compile(
            r"(?i)(?<=S/N:)\S+?(?=[,;\s]|$)|(?<=serial: )\S+|(?<=serial=)\S+|(?<=serial number: )\S+|(?<=serial number:)\S+"
        ),
    ),
    ("mail", re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b")),
)
_SECRET_LABELS = re.compile(
    r"(?i)serial|wwn|uuid|guid|(?:^|_)mac|address|broadcast|(?:^|_)ip|host|nodename|domainname|asset|tag$|pod|namespace"
    r"|container|user|target_|url|path$"
)
"""Labels of metrics that name no part of the hardware."""


class Redactor:
    """Replaces names consistently; keep one for everything that belongs together."""

    def __init__(self, nodes: Iterable[str], *, guests: Iterable[str] = ()) -> None:
        self.nodes: Mapping[str, str] = {name: f"node-{number}" for number, name in enumerate(nodes, start=1)}
        self._seen: dict[tuple[str, str], str] = {}
        names: dict[str, str] = {}
        for name, alias in self.nodes.items():
            names[name.lower()] = names[name.split(".")[0].lower()] = alias
        for guest in guests:
            names.setdefault(guest.lower(), self.alias("guest", guest))
        known = sorted((name for name in names if len(name) > 1), key=len, reverse=True)
        self._names = names
        # With whatever domain stands behind it.
        self._known = re.compile(
            rf"(?i)(?<![\w-])(?P<name>{'|'.join(map(re.escape, known))})(?:\.[a-z0-9-]+)*(?:\.[a-z]{{2,}})?(?![\w-])"
        ) if known else None  # fmt: skip

    def alias(self, kind: str, value: str) -> str:
        """`kind-N`, the same for the same value."""
        found = self._seen.get((kind, value))
        if found is None:
            number = 1 + sum(one == kind for one, _ in self._seen)
            found = self._seen[kind, value] = f"{kind}-{number}"
        return found

    def text(self, text: str) -> str:
        """A line without names, addresses and serial numbers."""
        for kind, form in _FORMS:
            text = form.sub(lambda found, kind=kind: self.alias(kind, found[0]), text)
        if self._known is not None:
            text = self._known.sub(lambda found: self._names[found["name"].lower()], text)
        return text

    def labels(self, labels: Mapping[str, str], *, node_label: str) -> dict[str, str]:
        """A series' labels; the one that names nodes keeps its port."""
        kept: dict[str, str] = {}
        for name, value in labels.items():
            if name == node_label:
                host, colon, port = value.rpartition(":")
                kept[name] = self._node(host if port.isdigit() else value) + (colon + port if port.isdigit() else "")
            elif _SECRET_LABELS.search(name):
                kept[name] = self.alias(name, value) if value else ""
            else:
                kept[name] = self.text(value)
        return kept

    def _node(self, name: str) -> str:
        return self._names.get(name.lower()) or self._names.get(name.split(".")[0].lower()) or self.alias("other", name)
