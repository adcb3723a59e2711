"""A vm that has all there is, in the usual simulated world, and what is done to it before a restore or wipe."""

from __future__ import annotations

from typing import Any

import pytest
from scenes.simulated_world import BATCH, POLICY, World

from agent.actions.attempt import AttemptContext
from agent.actions.runner import run_attempt
from models.errors import ActionFailed
from models.evacuation import Attempt, AttemptOutcome
from models.fleet import VmState
from models.plan import Action, ActionKind
from models.policy.policy import ArchivePolicy, SourceRelease
from tools.archive.store import FsspecArchiveStore
from tools.simulated.state import LOCAL_DIRECTORY

BASE, SNAPSHOT = f"{LOCAL_DIRECTORY}/base.raw", f"{LOCAL_DIRECTORY}/between.qcow2"


class Whole(World):
    """The usual world, and a vm that has all there is: an overlay on an overlay on a template that another vm has too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.store = FsspecArchiveStore(
            (self.directory / "archives").as_uri(),
            key_file=self.directory / "key",
            clock=self.fleet.clock,
            segment_chunks=1,
        )
        self.reopen()
        self.fleet.add_image("a", BASE)
        self.fleet.add_image("a", SNAPSHOT, 1 << 20, backing=BASE)
        self.vm = self.fleet.add_vm(
            "a", "whole", labels=BATCH, backing=SNAPSHOT, uefi=True, tpm=True, disk_bytes=(1 << 20, 1 << 20)
        )
        self.fleet.machines["a"].domains[self.vm].snapshots = 2
        self.other = self.fleet.add_vm("a", "other", labels=BATCH, backing=BASE, disk_bytes=(1 << 20,))

    def attempt(self, kind: ActionKind, policy: Any = POLICY, number: int = 1) -> Attempt:
        return run_attempt(self.context(kind, policy, number))

    def context(self, kind: ActionKind, policy: Any = POLICY, number: int = 1) -> AttemptContext:
        target = "b" if kind is ActionKind.COLD_MIGRATE else None
        action = Action(kind=kind, vm=self.vm, vm_name="whole", source="a", target=target, reason="a test")
        vm = next(vm for vm in self.fleet.node("a").vms() if vm.uuid == self.vm)
        return AttemptContext(
            id=f"attempt-{number}",
            evacuation="evac",
            action=action,
            vm=vm,
            policy=policy,
            hands=self.hands,
            on_progress=lambda _: None,
        )

    def files(self, node: str) -> dict[str, bytes]:
        """Everything on a node's disks."""
        machine = self.fleet.machines[node]
        return {path: image.content for path, image in machine.images.items()} | machine.state_files

    def files_of_vm(self, node: str = "a") -> dict[str, bytes]:
        return {path: content for path, content in self.files(node).items() if "whole" in path or self.vm in path} | {
            path: content for path, content in self.files(node).items() if path in (BASE, SNAPSHOT)
        }


def archive_and_forget(world: Whole) -> None:
    policy = POLICY.model_copy(update={"archive": ArchivePolicy(release_source=SourceRelease.UNDEFINE)})
    assert world.attempt(ActionKind.COLD_ARCHIVE, policy).outcome is AttemptOutcome.DONE


def archived_and_off(world: Whole) -> None:
    assert world.attempt(ActionKind.COLD_ARCHIVE).outcome is AttemptOutcome.DONE
    assert world.fleet.machines["a"].domains[world.vm].state is VmState.SHUTOFF


def fail_at(
    monkeypatch: pytest.MonkeyPatch, node: Any, step: str, nth: int, error: Exception | None = None
) -> list[int]:
    real, calls = getattr(node, step), []

    def failing(*args: Any, **how: Any) -> Any:
        calls.append(1)
        if len(calls) == nth:
            raise error or ActionFailed(f"{step} broke")
        return real(*args, **how)

    monkeypatch.setattr(node, step, failing)
    return calls
