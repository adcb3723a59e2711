"""Whether the image at the path of one that was made is that one: when in doubt, it stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.actions.made_files import MadeFile, why_image_stays
from tools.ports.vms import StorageFacts

LEFT_AT = datetime(2026, 1, 1, tzinfo=UTC)
MADE = MadeFile(node="b", path="/images/a", identity="lv-1", format="raw", virtual_bytes=1 << 30)
FACTS = StorageFacts(
    format="raw",
    image_bytes=1 << 30,
    pool_type="logical",
    shared=False,
    users={},
    virtual_bytes=1 << 30,
    allocated_bytes=1 << 30,
    identity="lv-1",
)
BY_PATH = replace(MADE, identity="")
"""on storage that knows an image by its path alone"""
FILE = replace(FACTS, identity="", changed=LEFT_AT - timedelta(minutes=1))
UNSURE = replace(BY_PATH, created=False)
EMPTY_QCOW2 = replace(FILE, format="qcow2", allocated_bytes=200_704, image_bytes=196_928)


@pytest.mark.parametrize(
    ("made", "facts", "left_at", "why"),
    [
        (MADE, FACTS, LEFT_AT, None),
        (MADE, replace(FACTS, users={"u": "web"}), None, "vm web uses it"),
        (MADE, replace(FACTS, identity="lv-2"), None, "another image"),
        (BY_PATH, FILE, None, None),
        (BY_PATH, FILE, LEFT_AT, None),
        (BY_PATH, replace(FILE, changed=LEFT_AT + timedelta(minutes=1)), LEFT_AT, "changed since"),
        (BY_PATH, replace(FILE, changed=None), LEFT_AT, "changed since, perhaps"),
        (UNSURE, FILE, None, "it holds data"),
        (UNSURE, replace(FILE, allocated_bytes=0), None, None),
        (UNSURE, replace(FILE, allocated_bytes=0, virtual_bytes=1 << 31), None, "it holds data"),
        (replace(UNSURE, format="qcow2"), EMPTY_QCOW2, None, None),
        (replace(UNSURE, format="qcow2"), replace(EMPTY_QCOW2, image_bytes=1 << 20), None, "it holds data"),
    ],
)
def test_only_what_is_seen_to_be_the_attempts_own_goes(
    made: MadeFile, facts: StorageFacts, left_at: datetime | None, why: str | None
):
    said = why_image_stays(made, facts, left_at=left_at)
    assert said is None if why is None else said is not None and why in said
