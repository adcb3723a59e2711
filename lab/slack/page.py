"""The stand-in's page: its messages as a browser shows them, with their buttons. Texts are set as texts, never as HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.slack.workspace import Workspace


def state_of(workspace: Workspace) -> dict[str, Any]:
    """What the page shows."""
    with workspace.lock:
        return {
            "users": workspace.users,
            "messages": [
                {"ts": each.ts, "blocks": each.blocks, "text": each.text, "thread": each.thread_ts}
                for each in workspace.messages.values()
            ],
            "forms": [{"id": key, "user": user, "view": view} for key, (user, view) in workspace.forms.items()],
            "whispers": workspace.whispers[-3:],
        }


PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
