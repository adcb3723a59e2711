"""What a service manager hears on its socket."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.service_manager import ServiceManager


class Socket:
    """As systemd's end of it."""

    def __init__(self, address: str) -> None:
        self.name = f"@{address[1:]}" if address.startswith("\0") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """The lines of every message so far."""
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["a file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Socket]:
    opened = Socket(f"\0lifeboat-{uuid.uuid4()}" if request.param == "abstract" else f"{tmp_path}/notify")
    yield opened
    opened.close()


def test_it_hears_that_lifeboat_is_ready_reloads_and_stops(manager: Socket) -> None:
    lifeboat = ServiceManager({"NOTIFY_SOCKET": manager.name})
    lifeboat.ready("looks\nREADY=0")
    assert manager.heard() == ["READY=1", "STATUS=looks READY=0"]
    lifeboat.reloading()
    first, when = manager.heard()
    assert first == "RELOADING=1"
    assert when.startswith("MONOTONIC_USEC=")
    lifeboat.stopping("told to stop")
    assert manager.heard() == ["STOPPING=1", "STATUS=told to stop"]


def test_a_sign_of_life_is_passed_on_once_and_silence_is_not(manager: Socket) -> None:
    lifeboat = ServiceManager({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "1000000"})
    lifeboat.pass_on()
    assert manager.heard() == []
    for _ in range(3):
        lifeboat.sign_of_life()
        lifeboat.pass_on()
    assert manager.heard() == ["WATCHDOG=1"]
    lifeboat.pass_on()
    assert manager.heard() == []


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid() + 1)}, {"WATCHDOG_USEC": "soon"}],
    ids=["no watchdog", "another process's", "not a number"],
)
def test_nobody_is_told_of_signs_of_life_who_did_not_ask(manager: Socket, environment: dict[str, str]) -> None:
    lifeboat = ServiceManager({"NOTIFY_SOCKET": manager.name, **environment})
    lifeboat.sign_of_life()
    lifeboat.pass_on()
    assert manager.heard() == []


@pytest.mark.parametrize("named", ["", "/nowhere/notify", "@lifeboat-nobody-listens"])
def test_where_nobody_listens_nothing_happens(named: str) -> None:
    lifeboat = ServiceManager({"NOTIFY_SOCKET": named, "WATCHDOG_USEC": "1000000"})
    lifeboat.ready("looks")
    lifeboat.sign_of_life()
    lifeboat.pass_on()
