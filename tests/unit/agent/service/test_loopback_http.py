"""A port that another program has is named with its setting, in one line."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler

import pytest

from agent.service.loopback_http import answering
from models.errors import BadInput


@pytest.mark.parametrize("setting", ["status.port", "webhook.port"])
def test_a_port_in_use_is_named_and_free_again_once_the_other_is_gone(setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(BadInput, match=rf"{setting} {port} can't be listened on: Address already in use") as refused,
            answering(BaseHTTPRequestHandler, port, setting=setting),
        ):
            pass
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
    with answering(BaseHTTPRequestHandler, port, setting=setting) as listening:
        assert listening == port
