"""Slack's answers end at a deadline, whatever is on the way to it."""

from __future__ import annotations

import pytest
from scenes.dripping_server import dripping

from tools.ports.chat import ChatError
from tools.slack.client import SlackChat

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n"


@pytest.mark.parametrize(("at_once", "drip"), [(b"HTTP/1.1 200 OK\r\n", b"x-more: yes\r\n"), (HEAD, b"{")])
def test_an_answer_that_never_ends_is_given_up(at_once: bytes, drip: bytes) -> None:
    with dripping(at_once, drip) as url:
        chat = SlackChat(channel="C1", bot_token="xoxb-1", app_token=None, api_url=url, altogether_seconds=0.3)
        with pytest.raises(ChatError, match=r"does not answer: the whole answer was not there within 0\.3 s"):
            chat.who_am_i()
        chat.close()
