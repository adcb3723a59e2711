"""What Slack sends when somebody presses a button, sends a form or types a command: from its JSON or form to values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.ports.chat import Command, Press


@dataclass(frozen=True)
class Workspace:
    """Of the token that is used."""

    team: str
    enterprise: str = ""
    """id of the Enterprise Grid organisation, whose workspaces have different team ids for one message and its press"""
    bot: str = ""
    """id under which it posts"""

    def why_foreign(self, body: Mapping[str, Any]) -> str:
        """The id of another workspace that this came from; empty: from this one, or from its own organisation."""
        team = _id(body.get("team")) or str(body.get("team_id") or "")
        enterprise = _id(body.get("enterprise")) or str(body.get("enterprise_id") or "")
        if team == self.team or (self.enterprise and enterprise == self.enterprise):
            return ""
        return team or enterprise or "unknown"


def press_of(body: Mapping[str, Any], workspace: Workspace) -> Press | None:
    """What lifeboat's own buttons and forms send; None for anything else."""
    user, trigger = _id(body.get("user")), str(body.get("trigger_id") or "")
    foreign = workspace.why_foreign(body)
    if body.get("type") == "view_submission":
        view: dict[str, Any] = body.get("view") or {}
        answers = {
            str(action): str((entry or {}).get("value") or "")
            for block in ((view.get("state") or {}).get("values") or {}).values()
            for action, entry in block.items()
        }
        what, value = str(view.get("callback_id") or ""), str(view.get("private_metadata") or "")
        return Press(what=what, value=value, user=user, trigger=trigger, answers=answers, foreign=foreign)
    actions: list[dict[str, Any]] = body.get("actions") or []
    if body.get("type") != "block_actions" or not actions:
        return None
    action = actions[0]
    value = str(action.get("value") or (action.get("selected_option") or {}).get("value") or "")
    place = str((body.get("container") or {}).get("message_ts") or "")
    what = str(action.get("action_id") or "")
    return Press(what=what, value=value, user=user, trigger=trigger, place=place, foreign=foreign)


def command_of(form: Mapping[str, Any], workspace: Workspace) -> Command:
    """A slash command. https://docs.slack.dev/interactivity/implementing-slash-commands"""
    return Command(
        name=str(form.get("command") or ""),
        text=str(form.get("text") or ""),
        user=str(form.get("user_id") or ""),
        reply_to=str(form.get("response_url") or ""),
        foreign=workspace.why_foreign(form),
    )


def _id(thing: Any) -> str:
    return str(thing.get("id") or "") if isinstance(thing, Mapping) else ""
