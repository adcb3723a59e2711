"""From settings to Slack: reads the tokens from their files."""

from __future__ import annotations

from pathlib import Path

from agent.settings import SlackSettings
from models.errors import BadInput
from tools.slack.client import SlackChat


def open_slack(settings: SlackSettings) -> SlackChat:
    """Slack as these settings name it; asks nothing yet. Raises BadInput for a token file that can't be read."""

    def token(path: Path, prefix: str) -> str:
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"slack token file {path} can't be read: {error}", hint="see docs/approval.md") from error
        if not text.startswith(prefix):
            raise BadInput(
                f"slack token file {path}: expected a token that starts with {prefix}", hint="see docs/approval.md"
            )
        return text

    return SlackChat(
        channel=settings.channel,
        bot_token=token(settings.bot_token_file, "xoxb-"),
        app_token=token(settings.app_token_file, "xapp-") if settings.app_token_file is not None else None,
        api_url=settings.api_url,
    )
