"""On which node of the fleet lifeboat itself runs, be it on the host or in a vm."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from models.fleet import Fleet

_MACHINE_UUID = Path("/sys/class/dmi/id/product_uuid")
"""in a vm of libvirt's, the vm's own uuid (SMBIOS); readable by root alone"""


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """What this host knows of itself."""

    stated: str | None = None
    """the node that an operator named"""
    host: str = ""
    machine_uuid: str = ""
    """lower case; empty: not known"""

    @classmethod
    def here(cls, stated: str | None) -> Whereabouts:
        try:
            machine_uuid = _MACHINE_UUID.read_text().strip().lower()
        except OSError:
            machine_uuid = ""
        return cls(stated=stated, host=socket.gethostname(), machine_uuid=machine_uuid)

    def node_in(self, fleet: Fleet) -> str:
        """The node; empty: none of the fleet's, as far as can be told. A vm is wherever the fleet has it now."""
        if self.stated is not None:
            return self.stated
        for vm in fleet.vms:
            if self.machine_uuid and vm.uuid.lower() == self.machine_uuid:
                return vm.node
        own = self.host.lower()
        names = {node.name.lower(): node.name for node in fleet.nodes}
        if own in names:
            return names[own]
        short = [name for lower, name in names.items() if own and lower.partition(".")[0] == own.partition(".")[0]]
        return short[0] if len(short) == 1 else ""
