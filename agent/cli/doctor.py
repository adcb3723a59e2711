"""`lifeboat doctor`: what would stop an evacuation, before there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import ConfigOption, JsonOption, PolicyOption
from agent.cli.terminal import completion

if TYPE_CHECKING:
    from agent.doctor.examine import CheckContext, Finding
    from agent.settings import Settings

app = typer.Typer(rich_markup_mode=None)


@app.command()
def doctor(
    config: ConfigOption = None,
    policy_file: PolicyOption = None,
    pin: Annotated[bool, typer.Option("--pin", help="Pin the certificate of every node that has no pin yet.")] = False,
    repin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NODE",
            help="Pin this node's certificate in place of the pinned one; may repeat.",
            autocompletion=completion.nodes,
        ),
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT",
            help="Gather what the sources say into a new folder, names replaced (docs/field.md).",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--node",
            metavar="NODE",
            help="With --evidence: this node alone; may repeat.",
            autocompletion=completion.nodes,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every connection, certificate, CPU pair, log, store and clock, and say how to fix what fails.

    Exit code 0: nothing fails (warnings allowed), 1: something does, 2: bad input.
    """
    from agent.cli.console import write_json
    from agent.doctor.checks import FLEET_CHECKS, NODE_CHECKS
    from agent.doctor.examine import CheckContext, Health, run_checks
    from agent.service.session import connect
    from agent.settings import load_settings
    from models.errors import BadInput

    settings = load_settings(config)
    unknown = {*(repin or ()), *(only or ())} - {node.name for node in settings.nodes}
    if unknown:
        raise BadInput(f"node {min(unknown)!r} is not in the settings", hint="name one that is under `nodes`")
    if evidence is not None:
        _gather(settings, evidence, only or [])
        return
    with connect(settings, policy_file) as session:
        hands = session.hands
        assert hands.pins is not None
        context = CheckContext(
            settings=settings,
            policy=session.policy,
            nodes=hands.nodes,
            journal=hands.journal,
            pins=hands.pins,
            clock=hands.clock,
        )
        if pin or repin:
            pin_certificates(context, frozenset(repin or ()), everyone=pin)
        findings = run_checks(context, FLEET_CHECKS, NODE_CHECKS)
    if as_json:
        write_json([finding.model_dump(mode="json", by_alias=True) for finding in findings])
    else:
        print_findings(findings)
    raise SystemExit(1 if any(finding.health is Health.FAIL for finding in findings) else 0)


def _gather(settings: Settings, directory: Path, only: list[str]) -> None:
    """Write an evidence folder, and say what is in it."""
    from agent.cli.console import note
    from agent.doctor.evidence import gather_evidence
    from models.text import visible
    from tools.clock import SystemClock
    from tools.libvirt.fleet import connect_nodes

    nodes = dict(connect_nodes(settings))
    try:
        gathered = gather_evidence(directory, settings, nodes, at=SystemClock().now(), only=only)
    finally:
        for node in nodes.values():
            node.close()
    for line in gathered.missing:
        note(f"not gathered: {visible(line, 300)}")
    note(f"{directory}: {gathered.series} series, {gathered.lines} log lines, {gathered.records} records of BMCs")
    note("names, addresses and serial numbers are replaced; read it before you hand it on")


def pin_certificates(context: CheckContext, replace: frozenset[str], *, everyone: bool) -> None:
    """Pin the certificates that the nodes show now; one line each on stderr. A node without a valid one is left out."""
    from agent.cli.console import note
    from agent.state.certificate_pins import PinState
    from models.errors import LifeboatError

    descriptions = {
        PinState.NEW: "pinned",
        PinState.SAME: "pinned already",
        PinState.REPLACED: "pinned in place of the one before",
        PinState.CHANGED: "another is pinned, which stays; it shows now",
    }
    changed = False
    for name, node in context.nodes.items():
        if not everyone and name not in replace:
            continue
        try:
            sha256 = node.tls_fingerprint()
            state = context.pins.pin(name, sha256, by="doctor", replace=name in replace)
        except LifeboatError as error:
            note(f"{name}: not pinned: {error}")
        else:
            note(f"{name}: {descriptions[state]}: sha256 {sha256}")
            changed = changed or state in (PinState.NEW, PinState.REPLACED)
    if changed:
        note("compare on each node: openssl x509 -noout -fingerprint -sha256 -in /etc/pki/libvirt/servercert.pem")


def print_findings(findings: list[Finding]) -> None:
    """One row a finding, with how to fix it below what was found."""
    from rich.table import Table
    from rich.text import Text

    from agent.cli.console import console
    from agent.doctor.examine import Health
    from models.text import visible

    styles = {Health.OK: "green", Health.WARN: "yellow", Health.FAIL: "red bold", Health.UNKNOWN: "magenta"}
    table = Table(box=None, padding=(0, 1))
    for column in ("", "check", "of", "found"):
        table.add_column(column, no_wrap=column in ("", "check"), overflow="fold")
    for each in findings:
        what = Text(visible(each.what, 400))
        if each.fix:
            what.append(f"\n→ {visible(each.fix, 400)}", style="bold" if each.health is Health.FAIL else "dim")
        table.add_row(Text(each.health, style=styles[each.health]), each.check, Text(visible(each.subject)), what)
    screen = console()
    screen.print(table)
    count = {health: sum(each.health is health for each in findings) for health in Health}
    counts = ", ".join(f"{number} {health}" for health, number in count.items() if number)
    fails = "an evacuation could fail" if count[Health.FAIL] else "nothing fails"
    screen.print(f"{counts}: {fails}{', not all could be found out' if count[Health.UNKNOWN] else ''}", markup=False)
