"""`lifeboat archive`: the cold archives."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli.options import (
    ConfigOption,
    FleetOption,
    JsonOption,
    OutputOption,
    PolicyOption,
    ReportOption,
    RisksOption,
)
from agent.cli.terminal import completion

archive = typer.Typer(
    help="List, verify, restore, wipe or discard cold archives; with --idle, plan to archive what is idle.",
    no_args_is_help=True,
    invoke_without_command=True,
    rich_markup_mode=None,
)


@archive.callback()
def of_idle(
    context: typer.Context,
    idle: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Plan to archive vms of low priority that were idle so long, such as 30d."
        ),
    ] = None,
    fleet_file: FleetOption = None,
    risks_file: RisksOption = None,
    policy_file: PolicyOption = None,
    report_file: ReportOption = None,
    output: OutputOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """With --idle: plan which idle vms go into the archive, and judge it. A dry run: changes nothing; `apply` carries it out.

    Only vms of low priority whose owners said in their label that they may be archived, and only where policy says
    `idle: {allowed: true}`.
    """
    if context.invoked_subcommand is not None:
        return
    from agent.cli.leisure import archive_idle
    from models.errors import BadInput

    if idle is None:
        raise BadInput("neither a command nor --idle", hint="`lifeboat archive --help`")
    archive_idle(idle, fleet_file, risks_file, policy_file, report_file, output, config, as_json=as_json)


@archive.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List every archive in the store, and what interrupted copies left."""
    from dataclasses import asdict

    from rich.table import Table
    from rich.text import Text

    from agent.cli.console import console, write_json
    from agent.service.session import open_archives
    from agent.settings import load_settings

    store = open_archives(load_settings(config))
    (entries, unreadable), leftovers = store.survey(), store.leftovers()
    if as_json:
        write_json(
            [{**asdict(each), "finished": True} for each in entries]
            + [{**asdict(each), "finished": False} for each in leftovers]
            + [{"id": each.id, "finished": True, "unreadable": each.why} for each in unreadable]
        )
        raise typer.Exit(1 if unreadable else 0)
    table = Table("archive", "vm", "from", "made", "stored", "original", box=None, padding=(0, 1))
    for entry in entries:
        sizes = (f"{entry.stored_bytes / 1e6:.1f} MB", f"{entry.original_bytes / 1e6:.1f} MB")
        row = (entry.id, entry.vm_name, entry.source, f"{entry.created_at:%Y-%m-%d %H:%M:%SZ}", *sizes)
        table.add_row(*(Text(cell) for cell in row))
    console().print(table if entries else "the store holds no archive")
    for left in leftovers:
        begun = f", begun {left.begun_at:%Y-%m-%d %H:%M:%SZ}" if left.begun_at else ""
        console().print(
            f"unfinished: {left.id} of vm {left.vm_name or 'unknown'}{begun}, {left.stored_bytes / 1e6:.1f} MB; the next "
            "archive of that vm goes on from it, `lifeboat archive discard` removes it",
            markup=False,
        )
    for broken in unreadable:
        console().print(f"can't be read: {broken.id}: {broken.why}", markup=False)
    if unreadable:
        raise typer.Exit(1)


@archive.command()
def verify(
    archive_id: Annotated[str, typer.Argument(metavar="ARCHIVE")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every byte of an archive again and check it against its signed manifest."""
    from dataclasses import asdict

    from agent.cli.console import console, write_json
    from agent.service.session import open_archives
    from agent.settings import load_settings

    entry = open_archives(load_settings(config)).verify(archive_id)
    if as_json:
        write_json({**asdict(entry), "verified": True})
    else:
        console().print(f"{entry.id}: every byte matches the signed manifest (sha256 {entry.sha256})", markup=False)


@archive.command()
def restore(
    archive_id: Annotated[str, typer.Argument(metavar="ARCHIVE")],
    node: Annotated[str, typer.Argument(help="The node to restore it on.", autocompletion=completion.nodes)],
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it once it is defined.")] = True,
    gone: Annotated[
        list[str] | None, typer.Option(metavar="NODE", help="A dead node that you know is off for good; may repeat.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore an archived vm on any node. Refused while any node knows that vm, or does not answer."""
    from agent.archives.restore import restore as restore_archive
    from agent.cli.console import console, note, write_json
    from agent.service.session import connect
    from agent.settings import load_settings

    settings = load_settings(config)
    with (
        connect(settings, None) as session,
        session.lease.hold(f"the restore of archive {archive_id}"),
    ):
        pins = session.policy.migration.pins
        view = restore_archive(
            session.hands, archive_id, node, start=start, gone=frozenset(gone or ()), pins=pins, tell=note
        )
    if as_json:
        write_json({"archive": archive_id, "node": view.node, "state": view.seen})
    else:
        console().print(f"{archive_id} is back on {view.node}: {view.seen}", markup=False)


@archive.command()
def wipe(
    archive_id: Annotated[str, typer.Argument(metavar="ARCHIVE")],
    yes: Annotated[bool, typer.Option("--yes", help="Agree to destroy the disks on the node.")] = False,
    discard_blocks: Annotated[
        bool, typer.Option("--discard", help="Ask the storage to discard the blocks instead of overwriting them.")
    ] = False,
    gone: Annotated[
        list[str] | None, typer.Option(metavar="NODE", help="A dead node that you know is off for good; may repeat.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Destroy the disks that an archived vm left on its node, and write a signed record of it.

    The archive is verified again first. Refused while the vm runs anywhere, or when a disk was written to since.
    """
    from dataclasses import asdict
    from getpass import getuser

    from agent.archives.wipe import wipe as wipe_archive
    from agent.cli.console import console, note, write_json
    from agent.service.session import connect
    from agent.settings import load_settings
    from models.errors import ApprovalMissing

    if not yes:
        raise ApprovalMissing(
            f"nothing was wiped: nobody agreed to destroy the disks of archive {archive_id} on their node",
            hint="add --yes when you do",
        )
    settings = load_settings(config)
    with connect(settings, None) as session, session.lease.hold(f"the wipe of archive {archive_id}"):
        record = wipe_archive(
            session.hands,
            archive_id,
            by=getuser(),
            overwrite=not discard_blocks,
            gone=frozenset(gone or ()),
            tell=note,
        )
    if as_json:
        write_json(asdict(record))
        return
    for image in record.images:
        console().print(f"{'wiped' if image.wiped else 'not wiped'}: {image.path}: {image.done}", markup=False)
    console().print(
        "not promised by the storage below:", *(f"- {limit}" for limit in record.limits), sep="\n", markup=False
    )
    console().print(f"signed record beside the manifest, sha256 {record.sha256}", markup=False)


@archive.command()
def discard(
    archive_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it under unfinished.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove what an interrupted copy left in the store. A finished archive is never removed by this."""
    from agent.cli.console import console, write_json
    from agent.service.session import open_archives
    from agent.settings import load_settings
    from models.errors import PrecheckFailed
    from tools.journal import open_journal
    from tools.ports.records.attempts import AttemptEnded, AttemptIntended

    settings = load_settings(config)
    journal = open_journal(settings)
    if journal.of(AttemptIntended, attempt=archive_id) and not journal.of(AttemptEnded, attempt=archive_id):
        raise PrecheckFailed(
            f"{archive_id} is being written, or was cut off and not recovered yet",
            hint="let it end; after a crash, `lifeboat status` says how it ended",
        )
    open_archives(settings).discard(archive_id)
    if as_json:
        write_json({"id": archive_id, "discarded": True})
    else:
        console().print(f"{archive_id}: what it left is gone", markup=False)
