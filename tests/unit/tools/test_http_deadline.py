"""A server that drips holds nobody up for longer than was said."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import requests
from scenes.dripping_server import dripping

from tools.http_deadline import DeadlineSession

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("at_once", "drip"),
    [
        (HEAD, b"x-more: yes\r\n"),
        (HEAD + b"content-length: 100000\r\n\r\n", b"{"),
        (HEAD + b"connection: close\r\n\r\n", b"{"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n{\r\n"),
        (b"", b"H"),
    ],
    ids=["headers", "body", "body without a length", "chunks", "status line"],
)
def test_an_answer_that_never_ends_is_given_up_at_the_deadline(at_once: bytes, drip: bytes) -> None:
    threads = threading.active_count()
    with dripping(at_once, drip) as url, DeadlineSession() as session:
        began = time.monotonic()
        with pytest.raises(requests.Timeout, match=r"within 0\.2 s"):
            session.get(url, timeout=0.2)
        assert time.monotonic() - began < 20
    assert threading.active_count() <= threads


def test_a_connection_that_was_kept_open_is_given_up_as_well() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(HEAD + b"content-length: 2\r\n\r\n{}")
            connection.recv(65536)
            connection.sendall(HEAD + b"content-length: 2\r\n\r\n{")
            connection.recv(65536)  # until the other end gives up

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with DeadlineSession() as session:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        assert session.get(url, timeout=5).json() == {}
        with pytest.raises(requests.Timeout):
            session.get(url, timeout=0.2)
    thread.join(5)
    listening.close()
    assert not thread.is_alive()
