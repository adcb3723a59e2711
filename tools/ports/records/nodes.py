"""What is remembered of nodes: their tiers and their certificates."""

from __future__ import annotations

from pydantic import AliasChoices, Field

from models.base import Value
from models.risk.tier import Tier
from tools.ports.journal import Record


class TierStep(Value):
    """One node that changed its tier."""

    node: str
    tier: Tier
    was: Tier
    why: str
    unknown_data: bool = Field(validation_alias=AliasChoices("blind", "unknown_data"), serialization_alias="blind")
    """nothing was known of it"""


class TiersChanged(Record):
    """Every node whose tier one look changed."""

    KIND = "tiers"
    changes: tuple[TierStep, ...]
    trace: str = ""
    """id of the look, as log lines have it; plans for these nodes carry it on. Empty: an earlier version wrote it"""


class CooldownBegun(Record):
    """The background agent leaves these nodes alone for as long as policy says."""

    KIND = "cooldown"
    nodes: tuple[str, ...]
    why: str


class AgentPolicy(Record):
    """What one of several lifeboats that share a database goes by, from its start or reload on."""

    KIND = "agent-policy"
    agent: str
    """what the others call it"""
    sha256: str
    """of the policy (`agent.approve.proposals.policy_digest`)"""


class CertificatePinned(Record):
    """A node is known by this certificate from now on."""

    KIND = "certificate-pinned"
    node: str
    sha256: str
    """of the certificate that the node is known by from now on"""
    before: str | None
    """SHA-256 of the one before; None: it had none"""
    by: str
    """`doctor`, or `first-use` during a move"""
