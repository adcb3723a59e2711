"""libvirt on one node: what every platform can do, and what only libvirt can."""

from __future__ import annotations

from typing import Protocol

from tools.ports.compatibility import Compatibility
from tools.ports.live_migration import LiveMigration
from tools.ports.platform import Platform
from tools.ports.shared_storage import SharedStorage
from tools.ports.storage import Storage


class Hypervisor(Platform, Compatibility, LiveMigration, Storage, Protocol):
    """libvirt on one node. Besides what its four parts say: the definitions of its vms.

    Every method raises NodeUnreachable when the node does not answer.
    """

    def uuid_of(self, name: str) -> str | None:
        """The uuid of the vm that has this name here; None when none has."""
        ...

    def domain_xml(self, uuid: str) -> str:
        """The persistent definition without lifeboat's stamp, with what a restore needs (console passwords too).

        Raises ActionFailed when there is none: a vm not known here, or one that would vanish when it stops."""
        ...

    def running_xml(self, uuid: str) -> str:
        """The definition as it runs now, with everything libvirt filled in; the persistent one when it is shut off."""
        ...

    def shared_storage(self) -> SharedStorage:
        """What counts as reachable from every node, as far as this one can tell: what the operator declares, and its own
        pools over the network."""
        ...

    def define(self, xml: str) -> str:
        """Define a domain, shut off; its uuid. Raises ActionFailed, and PrecheckFailed when name or uuid is taken."""
        ...

    def try_definition(self, xml: str) -> str:
        """Have libvirt take a definition and let go of it at once; what it made of it. Nothing of it is left, and nothing is
        started. Raises PrecheckFailed when it does not take it, or name or uuid is taken, and ActionFailed when it could not
        be removed again."""
        ...

    def undefine(self, uuid: str, *, with_snapshots: bool = False) -> None:
        """Remove the definition of a shut-off vm; disks, UEFI variables and TPM state stay.

        `with_snapshots`: what libvirt knows of its snapshots and checkpoints goes too (their data stays in the images). Raises
        ActionFailed when it is not shut off, or when snapshots or saved memory would be lost with it."""
        ...

    def set_autostart(self, uuid: str, on: bool) -> None:
        """Whether libvirt starts the vm by itself when the node comes up. Raises ActionFailed."""
        ...

    def set_on_poweroff(self, uuid: str, action: str) -> None:
        """What libvirt does when the running guest powers itself off, in libvirt's words: `destroy` leaves it off. Its
        definition stays. Raises ActionFailed."""
        ...

    def tag_attempt(self, uuid: str, attempt: str | None) -> None:
        """Write (or, with None, remove) the attempt's id in the domain's metadata, live and persistent."""
        ...
