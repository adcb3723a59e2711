"""`lifeboat audit`: the log of everything that was decided and done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.options import ConfigOption, JsonOption

audit = typer.Typer(help="Verify, show or export the audit log.", no_args_is_help=True, rich_markup_mode=None)

HeadOption = Annotated[
    str | None,
    typer.Option(
        help="A head noted elsewhere at any time, such as in a report or a Slack message: it has to be in the chain."
    ),
]
_SUMMARY = 200


@audit.command()
def verify(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="An exported file, in place of the journal.")
    ] = None,
    head: HeadOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the hash chain over everything that was decided and done: any change, gap or other order is found and named."""
    from agent.cli.console import console, write_json
    from agent.settings import load_settings
    from tools.journal import check_exported, open_journal

    if file is not None:
        count, newest = check_exported(file, expected_head=head)
    else:
        journal = open_journal(load_settings(config))
        try:
            count, newest = journal.verify(expected_head=head), journal.head()
        finally:
            journal.close()
    if as_json:
        write_json({"records": count, "head": newest, "intact": True})
    else:
        console().print(f"{count} records, the chain holds; head {newest}", markup=False)


@audit.command()
def show(
    evacuation: Annotated[str | None, typer.Option(help="Only what was written about this one.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only this kind of record; may repeat.")
    ] = None,
    about: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ID",
            help="Only what belongs together with this trace (of a log line), evacuation or attempt.",
        ),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the newest records: who decided or did what, when, and why."""
    from rich.text import Text

    from agent.cli.console import console, write_json
    from agent.settings import load_settings
    from agent.state.trail import trail_of
    from models.errors import BadInput
    from models.text import visible
    from tools.journal import open_journal

    journal = open_journal(load_settings(config))
    try:
        trail = trail_of(journal, about) if about is not None else None
        if about is not None and trail is None:
            raise BadInput(
                f"nothing in the audit log is about {visible(about, 60)}", hint="`lifeboat status` names ids"
            )
        found: list[dict[str, Any]] = [
            {
                "seq": entry.seq, "at": entry.at.isoformat(), "kind": entry.kind, "evacuation": entry.evacuation,
                "attempt": entry.attempt, "record": entry.record.data(), "sha256": entry.sha256,
            }
            for entry in (journal.entries(evacuation=evacuation) if trail is None else trail.entries)
            if (not evacuation or entry.evacuation == evacuation) and (not kind or entry.kind in kind)
        ][-most:]  # fmt: skip
    finally:
        journal.close()
    if as_json:
        write_json({"records": found} | ({"trace": trail.trace, "links": trail.links} if trail is not None else {}))
        return
    if trail is not None:
        evacuations = ", ".join(trail.evacuations) or "none"
        console().print(
            f"trace {trail.trace or '(written by an earlier version)'}, evacuations: {evacuations}"
            + (f", linked with the traces {', '.join(trail.links)}" if trail.links else ""),
            markup=False,
            soft_wrap=True,
        )
    for one in found:
        about = one["attempt"] or one["evacuation"] or ""
        said = visible(_summary(one["record"]), _SUMMARY)
        console().print(Text(f"{one['seq']:>6}  {one['at'][:19]}Z  {one['kind']:<18} {about}  {said}"), soft_wrap=True)


@audit.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="One JSON object a line.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the whole log into a file that `lifeboat audit verify FILE` checks without the journal."""
    from agent.cli.console import console, write_json
    from agent.settings import load_settings
    from tools.journal import export_journal, open_journal

    journal = open_journal(load_settings(config))
    try:
        count, head = export_journal(journal, output), journal.head()
    finally:
        journal.close()
    if as_json:
        write_json({"records": count, "head": head, "file": str(output)})
    else:
        console().print(f"{count} records into {output}; head {head}", markup=False)


def _summary(record: dict[str, Any]) -> str:
    """The record's short fields, who and why first."""
    flat = record | {f"event.{key}": value for key, value in (record.get("event") or {}).items()}
    first = ("by", "event.kind", "event.by", "why", "event.why", "state", "outcome", "message")
    plain = {
        key: value for key, value in flat.items() if isinstance(value, str | int | float) and value not in ("", False)
    }
    ordered = [key for key in first if key in plain] + [key for key in plain if key not in first]
    return " ".join(f"{key.removeprefix('event.')}={plain[key]}" for key in ordered)
