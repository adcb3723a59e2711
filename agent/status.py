"""What the journal says of evacuations, locked vms and what waits for a human."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.journal import Journal, Record
from models.base import Value
from models.evacuation import AttemptOutcome

if TYPE_CHECKING:
    from rich.console import Console


class AttemptStatus(Value):
    id: str
    vm: str
    vm_name: str
    kind: str
    source: str
    target: str | None
    outcome: str
    """how it ended, or `running`"""
    message: str
    locked: bool
    """still holds the vm's lock"""


class EvacuationStatus(Value):
    id: str
    started_at: str
    outcome: str
    """how it ended, `running`, or `refused` with nothing changed"""
    why: str
    attempts: tuple[AttemptStatus, ...]


class Status(Value):
    evacuations: tuple[EvacuationStatus, ...]
    """newest first"""
    audit_head: str

    @property
    def needs_human(self) -> tuple[AttemptStatus, ...]:
        return tuple(
            attempt
            for evacuation in self.evacuations
            for attempt in evacuation.attempts
            if attempt.outcome == AttemptOutcome.INDETERMINATE and attempt.locked
        )


def read_status(journal: Journal, *, most: int = 10) -> Status:
    """The newest `most` evacuations as the journal has them."""
    by_evacuation: dict[str, list[Record]] = {}
    for record in journal.records():
        if record.evacuation is not None:
            by_evacuation.setdefault(record.evacuation, []).append(record)
    locks = set(journal.locks().values())
    newest = list(by_evacuation.items())[::-1][:most]
    return Status(
        evacuations=tuple(_evacuation(name, records, locks) for name, records in newest), audit_head=journal.head()
    )


def _evacuation(name: str, records: list[Record], locks: set[str]) -> EvacuationStatus:
    outcome, why = "planned", ""
    attempts: dict[str, AttemptStatus] = {}
    for record in records:
        if record.kind == "evacuation-started":
            outcome = "running"
        elif record.kind == "evacuation-ended":
            outcome = record.data["outcome"]
        elif record.kind == "refused":
            outcome, why = "refused", record.data["why"]
        elif record.kind in ("intent", "result") and record.attempt is not None:
            ended = record.kind == "result"
            action = record.data["attempt"]["action"] if ended else record.data["action"]
            attempts[record.attempt] = AttemptStatus(
                id=record.attempt,
                vm=action["vm"],
                vm_name=action["vm_name"],
                kind=action["kind"],
                source=action["source"],
                target=action["target"],
                outcome=record.data["attempt"]["outcome"] if ended else "running",
                message=record.data["attempt"]["message"] if ended else "",
                locked=record.attempt in locks,
            )
    return EvacuationStatus(
        id=name, started_at=records[0].time, outcome=outcome, why=why, attempts=tuple(attempts.values())
    )


def show_status(status: Status, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    if not status.evacuations:
        console.print("no evacuation was ever planned here")
    for evacuation in status.evacuations:
        console.print(Text.assemble((evacuation.id, "bold"), f"  {evacuation.started_at}  {evacuation.outcome}"))
        if evacuation.why:
            console.print(Text(f"  {evacuation.why}"))
        if evacuation.attempts:
            table = Table("vm", "how", "from → to", "outcome", "what happened", box=None, padding=(0, 1))
            for attempt in evacuation.attempts:
                where = f"{attempt.source} → {attempt.target or 'archive'}"
                mark = " (locked)" if attempt.locked else ""
                row = (attempt.vm_name or attempt.vm, attempt.kind, where, attempt.outcome + mark, attempt.message)
                table.add_row(*(Text(cell) for cell in row))
            console.print(table)
    for attempt in status.needs_human:
        console.print(Text(f"A human must look: {attempt.message}", style="bold red"))
