"""Asking a guest over the network, against sockets on loopback."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from tools.guest_probe import guest_answers


def test_a_datagram_back_is_an_answer() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))

        def echo() -> None:
            data, address = server.recvfrom(100)
            server.sendto(data, address)

        thread = threading.Thread(target=echo)
        thread.start()
        assert guest_answers(f"udp://127.0.0.1:{server.getsockname()[1]}") is True
        thread.join()


def test_silence_and_refusal_are_no_answer() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        assert guest_answers(f"udp://127.0.0.1:{silent.getsockname()[1]}", seconds=0.05) is False
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        assert guest_answers(f"tcp://127.0.0.1:{port}") is True
    assert guest_answers(f"tcp://127.0.0.1:{port}") is False
    assert guest_answers(f"http://127.0.0.1:{port}/") is False


@pytest.mark.parametrize(
    "probe", ["", "udp://", "udp://host", "icmp://10.0.0.1", "udp://host:port", "file:///etc/hosts"]
)
def test_what_is_no_probe_can_not_be_asked(probe: str) -> None:
    assert guest_answers(probe) is None
