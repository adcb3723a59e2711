"""Begins an evacuation with the lifeboat whose code is on the path, an older one, and kills it: what it leaves is kept.

That is its state, and the truth about the SIMULATED nodes as JSON that any version can read. `chaos.upgrade` runs it beside that
version's own harness; it imports nothing that was not in all of them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from chaos import kill_harness, kill_world

_SETTLE_SECONDS = 4.0
"""what libvirt had begun goes on to its end without lifeboat: at twenty times the speed"""


class _Over(Exception):
    """The first lifeboat ended; the harness would start another."""


def _truth(world: Any) -> str:
    """Called in the process that the nodes live in."""
    time.sleep(_SETTLE_SECONDS)
    fleet = world._fleet
    with fleet.lock:
        fleet.advance()
        return json.dumps(
            {
                "now": kill_world.FastClock().now().isoformat(),
                "uuids": world._uuids,
                "ran_twice": sorted(fleet.ran_twice),
                "guests": {
                    uuid: [guest.dirty_bytes_per_second, guest.stop_seconds] for uuid, guest in fleet.guests.items()
                },
                "shared_images": _images(fleet.shared_images),
                "nodes": {
                    name: {
                        "images": _images(machine.images),
                        "domains": {
                            uuid: {
                                "xml": domain.xml,
                                "state": domain.state.value,
                                "reason": domain.reason,
                                "persistent": domain.persistent,
                                "incoming": domain.incoming,
                                "attempt": domain.attempt,
                                "autostart": getattr(domain, "autostart", False),
                                "on_poweroff": getattr(domain, "on_poweroff", "destroy"),
                            }
                            for uuid, domain in machine.domains.items()
                        },
                    }
                    for name, machine in fleet.machines.items()
                },
            },
            indent=1,
        )


def _images(images: Any) -> dict[str, list[Any]]:
    """Path → format, bytes it shows, bytes that it says it takes, which file it is."""
    return {
        path: [image.format, image.virtual_bytes, image.allocated_bytes, getattr(image, "identity", "")]
        for path, image in images.items()
    }


def main(directory: Path, step: int | None) -> None:
    name = "wait_for" if hasattr(kill_harness, "wait_for") else "_wait"
    wait = getattr(kill_harness, name)

    def wait_once(pid: int) -> int:
        raise _Over(wait(pid))

    setattr(kill_harness, name, wait_once)
    kill_world.World.truth_as_json = _truth  # type: ignore[attr-defined]
    with kill_harness.Harness(directory) as harness:
        try:
            harness.kill(kill_harness.Point(step), "state")
        except _Over:
            (directory / "truth.json").write_text(harness.world.truth_as_json())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2] != "none" else None)
