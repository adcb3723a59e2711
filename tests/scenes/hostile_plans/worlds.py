"""The fleets that hostile plans are made for."""

from __future__ import annotations

from datetime import timedelta

from scenes.topology import NOW, Topology, archive

from models.plan import Action, Plan

Case = tuple[Topology, Plan]


def dying(**policy: object) -> Topology:
    """`a` is about to fail, `b` and `c` are sound."""
    return Topology(**policy).node("a", risk=0.8).node("b").node("c")


def one_vm(**fields: object) -> Topology:
    return dying().vm("x", on="a", **fields)


def worth_draining(name: str, **fields: object) -> Topology:
    """`a` is about to fail; `name` may be drained live at leisure, and still takes vms."""
    drain = {"act": True, "price": 0.01, "effort": 0}
    others = [other for other in "bc" if other != name]
    scene = Topology(drain=drain, **fields).node("a", risk=0.8).node(name, risk=0.09)
    for other in others:
        scene.node(other)
    return scene


def full_target() -> Topology:
    """`b` has room for `x` once `r` left it, and `c` has room for `r` and for nothing larger."""
    scene = dying(target={"memory_headroom": 0}).vm("x", on="a", gib=16)
    scene.vm("r", on="b", gib=8).vm("rest", on="b", gib=40, migratable=False)
    return scene.vm("cs", on="c", gib=50, migratable=False)


def repaired(**fields: object) -> Topology:
    return Topology().node("a").node("b").node("c").vm("x", on="b", **fields).vm("y", on="c")


SPREAD = {"rebalance": {"allowed": True}}


def crowded(**policy: object) -> Topology:
    """`a` is three quarters full and the others are empty."""
    scene = Topology(**(SPREAD | policy)).node("a").node("b").node("c")
    for name in ("x", "y", "z"):
        scene.vm(name, on="a", gib=14)
    return scene


def spread(scene: Topology, *moves: Action) -> Case:
    return scene, scene.plan_of(*moves, at_leisure="rebalance")


def idle(**fields: object) -> Topology:
    told = {"priority": "low", "cold_archive_allowed": True, "idle_since": NOW - timedelta(days=31), **fields}
    policy = {"idle": {"allowed": True}, "archive": {"priorities": ["low", "normal"], "allow_without_label": True}}
    return Topology(**policy).node("a").node("b").vm("x", on="a", **told)


def put_away(scene: Topology) -> Case:
    return scene, scene.plan_of(archive("x", "a"), at_leisure="archive_idle")
