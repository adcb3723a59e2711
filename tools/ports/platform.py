"""What every platform can do with its vms, whether it is libvirt itself, Nova or KubeVirt."""

from __future__ import annotations

from typing import Protocol

from models.fleet import Node, Vm
from models.migration.convergence import JobProgress
from tools.ports.migration import MigrationOptions
from tools.ports.vms import VmObservation


class Platform(Protocol):
    """One node, as its platform shows it and acts on it.

    Every method raises NodeUnreachable when the node does not answer.
    """

    @property
    def name(self) -> str:
        """The node's name in the fleet."""
        ...

    def node(self) -> Node:
        """What it has: memory, processors, and how fast it sends."""
        ...

    def vms(self) -> list[Vm]:
        """Every vm defined or running here, with its labels.

        A label that can't be read hides no vm: it is left aside, `Vm.label_warning` says so, and it is not archived.
        """
        ...

    def observe(self, uuid: str) -> VmObservation | None:
        """What this node says of a vm now; None when it does not know it."""
        ...

    def migrate_live(self, uuid: str, target: str, options: MigrationOptions) -> None:
        """Move a running vm to the node named `target`, from node to node. Blocks until the platform says it is over.

        At the timeout the job is aborted, unless it was switched to post-copy, which has no way back.
        Returning means only that no error was reported: the caller observes both ends. Raises Indeterminate when the job
        does not end within a minute of being told to, here or by `abort_job`, MigrationFailed when an error was reported,
        NodeUnreachable when the source stopped answering and BadInput when `target` is not configured; the caller still
        observes both ends.
        """
        ...

    def job(self, uuid: str) -> JobProgress | None:
        """Progress of the migration job now, None when there is none."""
        ...

    def abort_job(self, uuid: str) -> None:
        """Ask for the running job to end; the vm stays on the source. No error when there is no job.

        Raises ActionFailed when it can't be ended, as in post-copy."""
        ...

    def shut_down(self, uuid: str, *, press_button: bool = False) -> None:
        """Ask the guest to stop: its agent where one is connected, else by the ACPI power button. Does not wait for it.

        `press_button`: the button even with an agent, which may have said yes and done nothing. No error when it is shut
        off already. Raises ActionFailed when it is not known here or paused: a paused guest hears nothing."""
        ...

    def power_off(self, uuid: str) -> None:
        """Pull the plug. Only where policy says so. No error when it is shut off already. Raises ActionFailed."""
        ...

    def start(self, uuid: str) -> None:
        """Start a vm that is defined here and shut off. Raises ActionFailed."""
        ...

    def close(self) -> None:
        """Let go of its connections."""
        ...
