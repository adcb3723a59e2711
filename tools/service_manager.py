"""Whoever started lifeboat as a service is told how it is: systemd, or another that speaks its protocol.

Each message is one datagram to the socket that the environment names (sd_notify(3)). Where it names none, nothing is told.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from models.text import visible


class ServiceManager:
    """The one that the environment names, if any. Thread-safe; never raises: one that does not listen ends nothing."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        named = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{named[1:]}" if named.startswith("@") else named
        self.watches = bool(named) and _meant_for_us(environment)
        """whether it ends and starts anew what gives no sign of life"""
        self._lock = threading.Lock()
        self._sign_at = self._pinged_at = 0.0

    def ready(self, status: str) -> None:
        """lifeboat works, since its start or since it read its settings anew."""
        self._tell("READY=1", _status(status))

    def reloading(self) -> None:
        """lifeboat reads its settings anew; `ready` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """lifeboat was told to stop and sees to its end what runs."""
        self._tell("STOPPING=1", _status(status))

    def status(self, status: str) -> None:
        """What `systemctl status` shows: one line."""
        self._tell(_status(status))

    def sign_of_life(self) -> None:
        """What lifeboat is here for gets on. Cheap: may be said a thousand times a second, from any thread."""
        self._sign_at = time.monotonic()

    def pass_on(self) -> None:
        """Tell of the signs of life since this was called last, if there were any; said by a thread that only looks on, so that
        one which hangs shows. No more than once a second."""
        with self._lock:
            if not self.watches or self._sign_at - self._pinged_at < 1.0:
                return
            self._pinged_at = self._sign_at
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)


def _meant_for_us(environment: Mapping[str, str]) -> bool:
    if not environment.get("WATCHDOG_USEC", "").isdigit():
        return False
    return environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())


def _status(text: str) -> str:
    return f"STATUS={visible(text)}"
