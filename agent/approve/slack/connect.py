"""From settings to Slack: reads the tokens from their files."""

from __future__ import annotations

from agent.settings import SlackSettings
from tools.secret_files import read_token
from tools.slack.client import SlackChat

_WHAT = "slack token file"


def open_slack(settings: SlackSettings) -> SlackChat:
    """Slack as these settings name it; asks nothing yet. Raises BadInput for a token file that can't be read."""

    return SlackChat(
        channel=settings.channel,
        bot_token=read_token(settings.bot_token_file, what=_WHAT, starts_with="xoxb-"),
        app_token=(
            read_token(settings.app_token_file, what=_WHAT, starts_with="xapp-")
            if settings.app_token_file is not None
            else None
        ),
        api_url=settings.api_url,
    )
