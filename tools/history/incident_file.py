"""Incidents and planned work that people keep in a CSV: `node,start,end,kind`.

Kind is `failure` or `maintenance`; times are RFC 3339."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path

from models.errors import BadInput
from models.risk.incidents import Window


def read_incidents(path: Path) -> tuple[list[tuple[str, float]], list[Window]]:
    """(failures as (node, unix seconds), planned work). Raises BadInput naming the line and what was expected."""
    failures: list[tuple[str, float]] = []
    planned: list[Window] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            missing = {"node", "start", "end", "kind"} - set(rows.fieldnames or ())
            if missing:
                raise BadInput(
                    f"incidents file {path}: column {min(missing)!r} is missing", hint="columns: node,start,end,kind"
                )
            for row in rows:
                where = f"incidents file {path}, line {rows.line_num}"
                node = (row["node"] or "").strip()
                if not node:
                    raise BadInput(f"{where}: node is empty", hint="name a node, or * for all in maintenance")
                start = _time(row["start"], f"{where}: start")
                if row["kind"] == "failure":
                    failures.append((node, start))
                elif row["kind"] == "maintenance":
                    end = _time(row["end"], f"{where}: end")
                    if end < start:
                        raise BadInput(f"{where}: it ends before it starts", hint="fix the times")
                    planned.append(Window(node, start, end))
                else:
                    raise BadInput(f"{where}: kind {row['kind']!r}", hint="expected failure or maintenance")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"incidents file {path}: {error}", hint="give the path of a readable CSV file") from error
    return failures, planned


def _time(text: str | None, where: str) -> float:
    try:
        at = datetime.fromisoformat((text or "").strip())
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadInput(f"{where} {text!r}", hint="expected a time with a zone, such as 2026-11-23T04:00:00Z")
    return at.timestamp()
