"""HTTP with one deadline for the whole answer.

requests bounds how long each read waits. A server that sends a byte now and then, in its headers or in its body, would hold
a look up for as long as it likes; here the connection is shut at the deadline, whoever is reading from it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_at_work = threading.local()
"""`deadline`: of the request this thread is making"""


class DeadlineSession(requests.Session):
    """A session whose `timeout`, in seconds, bounds a request as a whole: connecting, headers and body."""

    def mount(self, prefix: str, adapter: BaseAdapter) -> None:
        if isinstance(adapter, HTTPAdapter):
            proxied = adapter.proxy_manager_for

            def proxy_manager_for(proxy: str, **settings: Any) -> Any:
                return _with_deadlines(proxied(proxy, **settings))

            _with_deadlines(adapter.poolmanager)
            adapter.proxy_manager_for = proxy_manager_for
        super().mount(prefix, adapter)

    def request(self, method: str, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Raises requests.Timeout at the deadline, and what requests raises. Not for `stream=True`."""
        timeout = kwargs.get("timeout")
        if timeout is None:
            raise TypeError("a request without a timeout")
        deadline = _Deadline()
        timer = threading.Timer(timeout, deadline.pass_by)
        timer.daemon = True
        _at_work.deadline = deadline
        timer.start()
        try:
            response = super().request(method, url, *args, **kwargs)
        except requests.RequestException as error:
            if deadline.passed:
                raise _too_late(timeout) from error
            raise
        finally:
            timer.cancel()
            _at_work.deadline = None
            deadline.let_go()
        if deadline.passed:
            # An answer that says no length ends where its connection does: what is here may be half of it.
            raise _too_late(timeout)
        return response


def _with_deadlines(manager: PoolManager) -> PoolManager:
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}  # pyright: ignore[reportAttributeAccessIssue]
    return manager


def _too_late(seconds: float) -> requests.Timeout:
    return requests.Timeout(f"the whole answer was not there within {seconds:g} s")


class _Deadline:
    """Of one request. Holds its connection by a descriptor of its own, which TLS, laid over it later, does not take away."""

    def __init__(self) -> None:
        self.passed = False
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def watch(self, connection: socket.socket) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = socket.socket(fileno=os.dup(connection.fileno()))
            if self.passed:
                self._shut()

    def pass_by(self) -> None:
        with self._lock:
            self.passed = True
            self._shut()

    def let_go(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _shut(self) -> None:
        if self._connection is None:
            return
        with contextlib.suppress(OSError):  # not connected any more
            self._connection.shutdown(socket.SHUT_RDWR)


def _watch(connection: socket.socket | None) -> None:
    deadline: _Deadline | None = getattr(_at_work, "deadline", None)
    if deadline is not None and connection is not None:
        deadline.watch(connection)


class _HttpConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        _watch(connection)
        return connection

    def request(self, *args: Any, **kwargs: Any) -> None:
        _watch(self.sock)  # one that was kept open
        super().request(*args, **kwargs)


class _HttpsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        _watch(connection)
        return connection

    def request(self, *args: Any, **kwargs: Any) -> None:
        _watch(self.sock)
        super().request(*args, **kwargs)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection  # pyright: ignore[reportAssignmentType]  # as urllib3 itself has to


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection  # pyright: ignore[reportAssignmentType]
