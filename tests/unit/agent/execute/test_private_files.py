"""What an evacuation leaves in the state directory is for its own user, whatever the umask. SIMULATED nodes."""

from __future__ import annotations

import os
from pathlib import Path

from scenes.simulated_world import World

from agent.execute.workflows import Durable
from agent.state.certificate_pins import Pins
from models.evacuation import EvacuationOutcome


def test_nobody_else_can_read_what_was_decided_and_done(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        world = World(tmp_path / "state")
        evacuation = Durable(world.directory).execute(world.approved(), world.hands, evacuation="evac-1")
        Pins(world.directory / "pins.json", world.journal, world.fleet.clock).pin("b", "1" * 64, by="doctor")
        private = {
            path.name for path in world.directory.iterdir() if path.is_file() and not path.stat().st_mode & 0o077
        }
        open_to_others = {path.name for path in world.directory.iterdir() if path.is_file()} - private
        world.journal.close()
    finally:
        os.umask(before)
    assert evacuation.outcome is EvacuationOutcome.DONE
    assert {"journal.sqlite", "durable.sqlite", "evacuating.lock", "pins.json", "pins.lock"} <= private
    assert open_to_others == {"key.pub"}, "a public key"
    assert world.directory.stat().st_mode & 0o077 == 0
