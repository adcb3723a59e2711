"""Asking a guest over the network, against sockets on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from ipaddress import ip_network

import pytest

from tools.guest_probe import guest_asker

LOOPBACK = (ip_network("127.0.0.0/8"),)


def ask(probe: str, *, seconds: float = 2.0) -> bool | None:
    return guest_asker(LOOPBACK, seconds=seconds)(probe)


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Generator[int]:
    """A TCP server for one caller; the port it listens on."""

    def serve() -> None:
        try:
            caller, _ = server.accept()
        except OSError:
            return
        with caller:
            try:
                caller.recv(4096)
                talk(caller)
            except OSError:
                pass  # the caller has gone, as it should

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]


def test_a_datagram_back_is_an_answer() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))

        def echo() -> None:
            data, address = server.recvfrom(100)
            server.sendto(data, address)

        thread = threading.Thread(target=echo)
        thread.start()
        assert ask(f"udp://127.0.0.1:{server.getsockname()[1]}") is True
        thread.join()


def test_silence_and_refusal_are_no_answer() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        assert ask(f"udp://127.0.0.1:{silent.getsockname()[1]}", seconds=0.05) is False
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        assert ask(f"tcp://127.0.0.1:{port}") is True
    assert ask(f"tcp://127.0.0.1:{port}") is False
    assert ask(f"http://127.0.0.1:{port}/") is False


@pytest.mark.parametrize(
    ("status", "answers"),
    [("200 OK", True), ("404 Not Found", True), ("503 Service Unavailable", False), ("301 Moved", True)],
)
def test_any_status_but_a_5xx_is_an_answer_and_no_redirect_is_followed(status: str, answers: bool) -> None:
    asked_elsewhere = threading.Event()
    with serving(lambda _: asked_elsewhere.set()) as elsewhere:
        head = f"HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:{elsewhere}/\r\nContent-Length: 0\r\n\r\n".encode()
        with serving(lambda caller: caller.sendall(head)) as port:
            assert ask(f"http://127.0.0.1:{port}/health?deep=1") is answers
    assert not asked_elsewhere.is_set()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_drips_a_byte_at_a_time_is_left(scheme: str) -> None:
    def drip(caller: socket.socket) -> None:
        for _ in range(600):
            caller.sendall(b"H" if scheme == "http" else b"\x16")
            time.sleep(0.05)

    with serving(drip) as port:
        began = time.monotonic()
        assert ask(f"{scheme}://127.0.0.1:{port}/", seconds=0.3) is False
        assert time.monotonic() - began < 15.0


@pytest.mark.parametrize(
    "probe", ["", "udp://", "udp://host", "icmp://10.0.0.1", "udp://host:port", "file:///etc/hosts"]
)
def test_what_is_no_probe_can_not_be_asked(probe: str) -> None:
    assert ask(probe) is None


@pytest.mark.parametrize("probe", ["http://a..b/", "tcp://xn--:80", f"tcp://{'a' * 300}:80", "http://[::1%25x]:9/"])
def test_a_name_that_is_none_is_no_answer(probe: str) -> None:
    assert ask(probe) in (False, None)


def test_outside_the_networks_policy_names_nobody_is_asked() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        for networks in ((), (ip_network("10.0.0.0/8"),)):
            assert guest_asker(networks)(f"tcp://127.0.0.1:{port}") is None
            assert guest_asker(networks)(f"tcp://localhost:{port}") is None
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
