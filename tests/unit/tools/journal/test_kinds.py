"""Every kind of record as the version before typed records wrote it, one a line in `scenes/journal_v1/records.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.journal.kinds import decode, known_kinds
from tools.ports.journal import UnknownRecord

LINES = (Path(__file__).parents[3] / "scenes/journal_v1/records.jsonl").read_text().splitlines()
OLD: list[dict[str, Any]] = [json.loads(line) for line in LINES]


@pytest.mark.parametrize("line", OLD, ids=[line["kind"] for line in OLD])
def test_a_record_of_before_reads_and_is_written_as_before(line: dict[str, Any]) -> None:
    record = decode(line["kind"], line["data"])
    assert not isinstance(record, UnknownRecord), record.why
    assert record.kind == line["kind"]
    assert holds(record.data(), line["data"]), "an older lifeboat finds every field it wrote"


def holds(new: Any, old: Any) -> bool:
    """Everything in `old` is in `new`, which may have more fields."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and holds(new[key], value) for key, value in old.items())
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(holds, new, old))
    return new == old


def test_no_kind_of_this_version_is_missing_among_them() -> None:
    """A kind that is new since then is named here, so that a renamed one is noticed."""
    new_since_then = {
        "autostart-held",
        "autostart-given",
        "on-poweroff-held",
        "on-poweroff-given",
        "checkpoints-kept",
        "checkpoints-given",
        "shut-down-outstanding",
        "shut-down-settled",
        "archive-action",
        "archive-action-ended",
        "create-disk-refused",
        "define-refused",
        "disk-kept",
        "wipe-image",
        "image-overwritten",
        "approval-asked",
        "approval-changed",
        "approval-closed",
        "move-refused",
        "try-definition",
        "definition-tried",
        "definition-left",
        "definition-removed",
        "cooldown",
        "model-challenged",
        "webhook-used",
        "webhook-refused",
        "chat-intended",
        "chat-shown",
        "chat-settled",
        "chat-refused",
        "report-written",
        "chat-file-intended",
        "chat-file-shown",
        "chat-notice-shown",
        "storm-seen",
        "breaker-tripped",
        "breaker-reset",
        "moved-by-others",
        "nodes-seen",
        "risks-noted",
        "hindsight",
        "hindsight-corrected",
        "shadow-decided",
        "agent-policy",
        "archive-outdated",
        "archive-checked",
    }
    assert known_kinds().keys() - {line["kind"] for line in OLD} == new_since_then
