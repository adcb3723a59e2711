"""A vm's life on a libvirt node: defined, tagged, started, stopped, undefined."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import libvirt

from models.errors import ActionFailed, Lasting, PrecheckFailed
from tools.domain.labels import ATTEMPT_NAMESPACE, ATTEMPT_PREFIX, write_attempt
from tools.domain.xml import parse_domain
from tools.libvirt.connection import one_line
from tools.libvirt.domains import DomainAccess
from tools.libvirt.migration.tuning import has_agent

_ON_POWEROFF = {
    "destroy": libvirt.VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY,
    "restart": libvirt.VIR_DOMAIN_LIFECYCLE_ACTION_RESTART,
}


class LibvirtLifecycle:
    """The part of LibvirtNode that defines, tags, starts and stops vms."""

    def __init__(self, access: DomainAccess) -> None:
        self._access = access
        self._name = access.name

    def tag_attempt(self, uuid: str, attempt: str | None) -> None:
        def stamp(domain: libvirt.virDomain) -> None:
            flags = 0
            if domain.isActive():
                flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
            if domain.isPersistent():
                flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG
            element: Any = write_attempt(attempt) if attempt is not None else None
            try:
                domain.setMetadata(
                    libvirt.VIR_DOMAIN_METADATA_ELEMENT, element, ATTEMPT_PREFIX, ATTEMPT_NAMESPACE, flags
                )
            except libvirt.libvirtError as error:
                if attempt is None and error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                    return
                raise

        self._access.change("marking", uuid, stamp)

    def shut_down(self, uuid: str, *, press_button: bool = False) -> None:
        def shut_down(domain: libvirt.virDomain) -> None:
            state = int(domain.state()[0])
            if state in (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTDOWN):
                return
            if state == libvirt.VIR_DOMAIN_PAUSED:
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} is paused and can't hear a request to stop",
                    hint="resume it, or let policy pull its plug",
                )
            if not press_button and has_agent(domain.XMLDesc(0)):
                with suppress(libvirt.libvirtError):  # the agent may have ended just now: ACPI is asked instead
                    domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
                    return
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

        self._access.change("stopping", uuid, shut_down)

    def set_autostart(self, uuid: str, on: bool) -> None:
        self._access.change("setting the autostart of", uuid, lambda domain: domain.setAutostart(int(on)))

    def set_on_poweroff(self, uuid: str, action: str) -> None:
        chosen = _ON_POWEROFF.get(action)
        if chosen is None:
            raise ActionFailed(f"on_poweroff {action!r} can't be set", hint=f"one of {', '.join(_ON_POWEROFF)}")
        self._access.change(
            "setting on_poweroff of",
            uuid,
            lambda d: d.setLifecycleAction(
                libvirt.VIR_DOMAIN_LIFECYCLE_POWEROFF, chosen, libvirt.VIR_DOMAIN_AFFECT_LIVE
            ),
        )

    def power_off(self, uuid: str) -> None:
        self._access.change("powering off", uuid, lambda d: d.destroy() if d.isActive() else 0)

    def start(self, uuid: str) -> None:
        self._access.change("starting", uuid, lambda d: d.create(), seconds=60.0)

    def suspend(self, uuid: str) -> None:
        self._access.change("suspending", uuid, lambda d: d.suspend())

    def resume(self, uuid: str) -> None:
        self._access.change("resuming", uuid, lambda d: d.resume())

    def define(self, xml: str) -> str:
        described = parse_domain(xml)

        def define(connection: libvirt.virConnect) -> str:
            for what, lookup, value in (
                ("uuid", connection.lookupByUUIDString, described.uuid),
                ("name", connection.lookupByName, described.name),
            ):
                with suppress(libvirt.libvirtError):
                    if value:
                        lookup(value)
                        raise PrecheckFailed(
                            f"node {self._name} has a vm with {what} {value} already",
                            hint="find out which one is the right one; nothing was changed",
                        )
            return connection.defineXML(xml).UUIDString()

        try:
            return self._access.connection.call("defining a vm", define)
        except libvirt.libvirtError as error:
            raise ActionFailed(
                f"vm {described.name} could not be defined on node {self._name}: {one_line(error)}",
                hint="nothing was changed there",
            ) from error

    def try_definition(self, xml: str) -> str:
        try:
            uuid = self.define(xml)
        except ActionFailed as error:
            raise PrecheckFailed(error.message, hint="nothing was changed", lasting=Lasting.AT_TARGET) from error
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        try:
            return self._access.read("what it made of the definition of", uuid, lambda domain: domain.XMLDesc(flags))
        finally:
            self.undefine(uuid)

    def undefine(self, uuid: str, *, with_snapshots: bool = False) -> None:
        def undefine(domain: libvirt.virDomain) -> None:
            if domain.isActive():
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} is not shut off: its definition stays", hint="look who started it"
                )
            if domain.hasManagedSaveImage(0):
                raise ActionFailed(
                    f"vm {uuid} on node {self._name} has its memory saved, which would be lost: its definition stays",
                    hint="start it, or `virsh managedsave-remove` it",
                )
            flags = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
            if parse_domain(domain.XMLDesc(0)).tpm:
                flags |= libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM
            if with_snapshots:
                flags |= (
                    libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
                )
            domain.undefineFlags(flags)

        self._access.change("undefining", uuid, undefine)
