"""What libvirt and QEMU say when they will not begin a migration: whether trying the same again can end otherwise."""

from __future__ import annotations

import re

import libvirt

from models.errors import Lasting

_OF_THE_GUEST = frozenset(
    {libvirt.VIR_ERR_MIGRATE_UNSAFE, libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_ERR_NO_SUPPORT}
)
_OF_THE_TARGET = frozenset(
    {
        libvirt.VIR_ERR_CPU_INCOMPATIBLE,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_XML_ERROR,
        libvirt.VIR_ERR_XML_DETAIL,
        libvirt.VIR_ERR_XML_INVALID_SCHEMA,
    }
)
_PASSING = re.compile(r"\bblock job|auto destroy|i/o error|\banother\b|not running|\bin use\b|\block\b", re.IGNORECASE)
"""what a guest may be rid of in a minute, or what a look at it shows anyway"""
_WILL_NOT = re.compile(
    r"can(?:not|'t| ?not) (?:be )?migrated?\b"
    r"|migration (?:is )?(?:currently )?(?:disabled|blocked|not supported)"
    r"|migration (?:with|of) .* (?:is )?not supported"
    r"|(?:non|un|not|not yet)[- ]?(?:migratable|migrateable)"
    r"|state blocked by|does not support (?:live )?migration|disallows migration|invtsc",
    re.IGNORECASE,
)
"""libvirt's checks of the guest before a migration (qemuMigrationSrcIsAllowed, libvirt 5 to 11), and what QEMU's devices put
into their migration blockers (migrate_add_blocker, QEMU 2.11 to 10)"""
_LACKS = re.compile(
    r"does not (?:provide|support)|unsupported machine|guest CPU doesn't match|not supported by (?:this|the) QEMU",
    re.IGNORECASE,
)


def how_long(code: int, message: str) -> Lasting | None:
    """What the refusal holds for; None when another try may end otherwise, as far as anybody knows. `code`: libvirt's.

    Careful one way: a passing fault taken for a lasting one would keep a guest on a node that dies.
    """
    if _PASSING.search(message):
        return None
    if code in _OF_THE_GUEST or _WILL_NOT.search(message):
        return Lasting.EVERYWHERE
    if code in _OF_THE_TARGET or _LACKS.search(message):
        return Lasting.AT_TARGET
    return None
