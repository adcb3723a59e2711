"""`lifeboat vm check`: what each kind of move would do with a guest, from its definition alone. Asks no host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from models.policy.policy import Policy
    from tools.domain.inventory.resource import Inventory
    from tools.ports.shared_storage import SharedStorage

vm = typer.Typer(help="Check single vms.", no_args_is_help=True, rich_markup_mode=None)

_LARGEST_FILE = 2 << 20
"""bytes; hundreds of disks and the network cards to go with them take less"""


@vm.callback()
def group() -> None:
    """Check single vms."""


@vm.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.xml...", help="Definitions, as `virsh dumpxml` prints.")],
    policy_file: Annotated[
        Path | None,
        typer.Option("--policy", metavar="F", help="Judge by this policy too: priorities, consent, protected vms."),
    ] = None,
    shared: Annotated[
        list[str] | None,
        typer.Option(
            "--shared-path", metavar="DIR", help="A directory every node reaches; adds to the settings' ones."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything each definition names on its host, what each kind of move does with it, and what keeps the vm from
    moving so. Needs no host and changes nothing.

    Exit code 0 whether or not there are obstacles: the question was answered. 2 when a file is no definition. Without a
    policy (--policy, or policy_file in the settings) only the definition is judged, and a label that forbids archives.
    """
    from agent.cli.console import write_json

    policy, storage = _settings_for(policy_file, shared or [], config)
    checked = [_check(path, policy, storage) for path in files]
    if as_json:
        write_json({"vms": checked})
    else:
        for each in checked:
            _print(each)


def _settings_for(
    policy_file: Path | None, shared: list[str], config: Path | None
) -> tuple[Policy | None, SharedStorage]:
    """Policy and shared storage, from the settings where there are any: definitions are checked without them, too."""
    from agent.documents import read_policy
    from agent.settings import load_settings_if_any
    from tools.ports.shared_storage import SharedStorage

    settings = load_settings_if_any(config)
    chosen = policy_file or (settings.policy_file if settings else None)
    return (
        read_policy(chosen) if chosen else None,
        SharedStorage(
            (*(settings.shared_paths if settings else ()), *shared), settings.shared_pools if settings else ()
        ),
    )


def _check(path: Path, policy: Policy | None, storage: SharedStorage) -> dict[str, Any]:
    from models.errors import BadInput
    from tools.domain.inventory.handlers import take_inventory
    from tools.domain.inventory.resource import MOVES

    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise BadInput(f"{path}: longer than {_LARGEST_FILE} bytes", hint="expected one vm's definition")
        content = path.read_bytes()
        inventory = take_inventory(content, storage)
        obstacles = _obstacles(content, inventory, policy)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}", hint="give the path of a readable file") from error
    except BadInput as error:
        raise BadInput(f"{path}: {error.message}", hint=error.hint) from error
    return {
        "file": str(path),
        "name": inventory.name,
        "uuid": inventory.uuid,
        "resources": [
            {
                "what": each.what,
                "kind": each.kind.value,
                "where": each.where,
                **{move.value: str(each.fate(move)) for move in MOVES},
            }
            for each in inventory.resources
        ],
        "obstacles": obstacles,
        "not_in_an_archive": list(inventory.left_out()),
        "only_a_host_can_tell": list(inventory.host_tells()),
    }


def _obstacles(content: bytes, inventory: Inventory, policy: Policy | None) -> dict[str, str | None]:
    """By kind of move, None where nothing stands in its way: what the definition says, then what policy and label say."""
    from models.fleet import Vm
    from models.plan import ActionKind
    from models.planning.placement import archive_blocker, cold_blocker, is_protected
    from tools.domain.inventory.resource import MOVES
    from tools.domain.labels import read_labels

    labels = read_labels(content)
    reasons = {move: [inventory.obstacle(move)] for move in MOVES}
    if policy is None:
        if labels.cold_archive_allowed is False:
            reasons[ActionKind.COLD_ARCHIVE].append(labels.warning or "its label forbids a cold archive")
    else:
        candidate = Vm(
            uuid=inventory.uuid or inventory.name,
            name=inventory.name,
            node="",
            memory_bytes=0,
            priority=labels.priority,
            cold_archive_allowed=labels.cold_archive_allowed,
            label_warning=labels.warning,
        )
        reasons[ActionKind.COLD_MIGRATE].append(cold_blocker(candidate, policy))
        reasons[ActionKind.COLD_ARCHIVE].append(archive_blocker(candidate, policy))
        if is_protected(candidate, policy):
            for move in MOVES:
                reasons[move].append("it is protected by policy")
    return {move.value: "; ".join(filter(None, reasons[move])) or None for move in MOVES}


_TITLES = {"live_migrate": "moves live", "cold_migrate": "moves cold", "cold_archive": "archived"}


def _print(checked: dict[str, Any]) -> None:
    """A table of what becomes of each thing, then why it refuses, then what is still open."""
    from rich.table import Table
    from rich.text import Text

    from agent.cli.console import console
    from models.text import visible

    screen = console()
    screen.print(Text(f"{visible(checked['name'])} ({visible(checked['uuid']) or 'no UUID'})", style="bold"))
    table = Table(box=None, pad_edge=False)
    for title in ("what", "where", *_TITLES.values()):
        table.add_column(title, overflow="fold")
    for each in checked["resources"]:
        fates = (each[move].partition(":")[0].partition(" (")[0] for move in _TITLES)
        table.add_row(*(Text(visible(text, 400)) for text in (each["what"], each["where"], *fates)))
    if checked["resources"]:
        screen.print(table)
    for move, title in _TITLES.items():
        why = checked["obstacles"][move]
        line = f"{title}: " + (
            "nothing in its definition is in the way" if why is None else f"no: {visible(why, 2000)}"
        )
        screen.print(Text(line))
    for line in checked["not_in_an_archive"]:
        screen.print(Text(f"not in an archive: {visible(line, 400)}"))
    screen.print(Text("Only a host can tell:"))
    for line in checked["only_a_host_can_tell"]:
        screen.print(Text(f"  {visible(line, 400)}"))
    screen.print()
