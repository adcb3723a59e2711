"""`lifeboat fleet`: a fleet.json out of other programs' files, for a plan without any connection."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import JsonOption

if TYPE_CHECKING:
    from tools.fleet_exports.imported import Imported

app = typer.Typer(rich_markup_mode=None)


@app.command()
def fleet(
    from_xml: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="One folder a node: its `virsh capabilities` and the dumpxml of its vms."),
    ] = None,
    from_hbal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text that Ganeti's hbal and hscan use.")
    ] = None,
    from_proxmox: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON of `pvesh get /cluster/resources`.")
    ] = None,
    from_openstack: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with the JSON of `openstack hypervisor list --long`, `server list --all-projects --long`, "
            "`flavor list --all --long`; better with compute services, volumes and server groups.",
        ),
    ] = None,
    cpu_overcommit: Annotated[
        float | None,
        typer.Option(metavar="N", min=0.01, help="Vcpus that may share a processor, where the file is silent."),
    ] = None,
    shared: Annotated[
        list[str] | None,
        typer.Option("--shared-path", metavar="DIR", help="A directory every node reaches (--from-xml)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FLEET", help="Write it here; default: standard output.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a fleet.json out of what libvirt, Ganeti, Proxmox or OpenStack printed. Asks no host and changes nothing.

    What the file does not tell is on standard error. Times are the files' own.
    """
    from agent.cli.console import note, write_json
    from agent.documents import write_value
    from models.errors import BadInput

    del as_json
    given = [each for each in (from_xml, from_hbal, from_proxmox, from_openstack) if each is not None]
    if len(given) != 1:
        raise BadInput(
            f"{len(given)} files to make a fleet of are given",
            hint="one of --from-xml, --from-hbal, --from-proxmox, --from-openstack",
        )
    imported = _read(from_xml, from_hbal, from_proxmox, from_openstack, shared or [])
    made = imported.fleet
    if cpu_overcommit is not None:
        silent = tuple(
            n.model_copy(update={"cpu_overcommit": cpu_overcommit}) if n.cpu_overcommit == 1.0 else n
            for n in made.nodes
        )
        made = made.model_copy(update={"nodes": silent})
    for line in imported.remarks:
        note(f"note: {line}")
    if output is None:
        write_json(made)
    else:
        write_value(output, made)
        note(f"{output}: {len(made.nodes)} nodes, {len(made.vms)} vms")


def _read(
    from_xml: Path | None,
    from_hbal: Path | None,
    from_proxmox: Path | None,
    from_openstack: Path | None,
    shared: list[str],
) -> Imported:
    from models.errors import BadInput
    from tools.fleet_exports.hbal import read_hbal
    from tools.fleet_exports.libvirt_dump import read_dump
    from tools.fleet_exports.openstack import read_openstack
    from tools.fleet_exports.proxmox import read_proxmox
    from tools.input_file import read_json
    from tools.ports.shared_storage import SharedStorage

    if from_xml is not None:
        return read_dump(from_xml, SharedStorage(tuple(shared)))
    if from_openstack is not None:
        return read_openstack(from_openstack)
    path = from_hbal or from_proxmox
    assert path is not None
    try:
        at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if from_proxmox is not None:
            return read_proxmox(read_json(path, what="export"), path, at)
        return read_hbal(path.read_text(encoding="utf-8"), path, at)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} can't be read: {error}", hint="give a text file in UTF-8") from error
