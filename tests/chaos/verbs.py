"""The verbs of a scenario file: each a plain sentence, and what it does to the stage or to lifeboat."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.replay import Play

Happening = Callable[..., object]
_VERBS: list[tuple[re.Pattern[str], Happening]] = []
_TAKE_TIME = ("cancel", "another lifeboat")


def _verb(words: str) -> Callable[[Happening], Happening]:
    """NODE, VM, … in capitals are what a sentence names; WORDS is its rest."""

    def group(match: re.Match[str]) -> str:
        return rf"(?P<{match.group().lower()}>{'.+' if match.group() == 'WORDS' else r'[^ ]+'})"

    pattern = re.compile(re.sub("[A-Z]+", group, words))

    def register(do: Happening) -> Happening:
        _VERBS.append((pattern, do))
        return do

    return register


def happen(sentence: str, play: Play) -> None:
    """Raises ValueError for a sentence that no verb understands; MigrationFailed where the sentence is libvirt's answer."""
    for pattern, do in _VERBS:
        match = pattern.fullmatch(sentence)
        if match is not None:
            do(play, **match.groupdict())
            return
    raise ValueError(f"scenario {play.scenario.name}: nobody knows how to {sentence!r}")


def takes_time(sentence: str) -> bool:
    return sentence.startswith(_TAKE_TIME)


# --- machines and networks ---

_verb("kill node NODE")(lambda play, node: play.stage.kill_node(node))
_verb("power up NODE")(lambda play, node: play.stage.revive_node(node))
_verb("kill libvirtd on NODE")(lambda play, node: play.stage.kill_libvirtd(node))
_verb("start libvirtd on NODE")(lambda play, node: play.stage.start_libvirtd(node))
_verb("cut the link NODE to PEER")(lambda play, node, peer: play.stage.cut_link(node, peer))
_verb("nothing that VM sends arrives")(lambda play, vm: play.stage.stall(vm, ignores_abort=False))
_verb("nothing that VM sends arrives and its job does not end")(
    lambda play, vm: play.stage.stall(vm, ignores_abort=True)
)
_verb("mend the links")(lambda play: play.stage.mend_links())
_verb("cut lifeboat off from NODE")(lambda play, node: play.stage.cut_off(node))
_verb("reconnect lifeboat")(lambda play: play.stage.reconnect())


@_verb("restart libvirtd on NODE")
def _restart_libvirtd(play: Play, node: str) -> None:
    play.stage.kill_libvirtd(node)
    play.stage.start_libvirtd(node)


# --- what libvirt answers ---

_verb("libvirt refuses: WORDS")(lambda play, words: play.stage.refuse(words))

_verb("the certificate of NODE expires")(lambda play, node: play.stage.expire_certificate(node))
_verb("somebody fills the memory of NODE")(lambda play, node: play.stage.fill_memory(node))

# --- what others do to a vm ---

_verb("somebody shuts VM off")(lambda play, vm: play.stage.shut_off(vm))
_verb("somebody deletes VM")(lambda play, vm: play.stage.delete(vm))
_verb("somebody renames VM to NAME")(lambda play, vm, name: play.stage.rename(vm, name))
_verb("somebody pauses VM")(lambda play, vm: play.stage.pause(vm))
_verb("somebody migrates VM to NODE")(lambda play, vm, node: play.stage.migrate_by_hand(vm, node))
_verb("another vm on NODE is named VM")(lambda play, node, vm: play.stage.take_name(vm, node))

# --- the archive store ---

_verb("the store has ROOM bytes left")(lambda play, room: play.stage.store_room(int(room)))
_verb("the store has room again")(lambda play: play.stage.store_room(None))
_verb("the store is gone")(lambda play: play.stage.store_gone(True))
_verb("the store is back")(lambda play: play.stage.store_gone(False))

# --- lifeboat itself ---

_verb("somebody sets the clock by SECONDS seconds")(lambda play, seconds: play.stage.set_wall_clock(float(seconds)))
_verb("stop lifeboat dead")(lambda play: play.stop())
_verb("start lifeboat again")(lambda play: play.recover())
_verb("apply the plan again")(lambda play: play.apply())
_verb("another lifeboat applies the same plan")(lambda play: play.apply_beside(same_host=False))
_verb("another lifeboat on the same host applies the same plan")(lambda play: play.apply_beside(same_host=True))
_verb("wait SECONDS seconds")(lambda play, seconds: play.stage.clock.sleep(float(seconds)))


@_verb("cancel")
def _cancel(play: Play) -> None:
    play.cancel()


@_verb("the node recovers")
def _withdraw(play: Play) -> None:
    play.process.withdrawn = "the node recovered"
