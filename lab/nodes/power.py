"""Ending a node the way a host dies, and unplugging its network."""

from __future__ import annotations

from lab.nodes import network
from lab.nodes.node import Lab


def kill_node(lab: Lab, name: str) -> None:
    """The node is gone from one moment to the next: network first, then libvirtd, guests and exporters by kill -9.

    Its disks stay where they are, as in a dead machine. It doesn't come back: `lifeboat lab down`, then `up`. Killing
    a dead node does nothing. Raises BadInput when there is no such node, LabError when a process survives."""
    node = lab.node(name)
    lab.journal.add("killed", node=name)
    network.set_link(lab, name, up=False)  # silence, not "connection refused": nobody is there to refuse
    node.kill_daemons(holder=True)


def was_killed(lab: Lab, name: str) -> bool:
    return any(entry["node"] == name for entry in lab.journal.read("killed"))


def set_link(lab: Lab, name: str, *, up: bool) -> None:
    """Plug or unplug the node's network cable; its guests lose the network with it, and all keep running."""
    network.set_link(lab, name, up=up)
