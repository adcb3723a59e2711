"""Hardware events out of a BMC's system event log, read over the LAN with ipmitool.

The password goes to ipmitool as a file or in its environment, never on its command line, where every user of the machine
could read it.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from models.errors import HardwareLogUnavailable
from models.risk.signal import HardwareEvent
from tools.bounded_call import BoundedCall
from tools.logs.sel.clock import AHEAD, BACK, date_records
from tools.logs.sel.file import events_of_records
from tools.logs.sel.records import sel_lines
from tools.logs.sel.stamps import parse_stamp

PATIENCE_SECONDS = 1.5
"""How long a look waits for a BMC that answered before; what it said then is taken meanwhile."""
FIRST_PATIENCE_SECONDS = 5.0
TRUSTED_SECONDS = 120.0
"""How long an earlier answer stands for a BMC that is slow or silent."""
_WRONG_CLOCK = 120.0
"""A BMC's clock further off than this is corrected by the difference."""
_PASSWORD_VARIABLE = "IPMI_PASSWORD"  # noqa: S105  # ipmitool's own name for it


class SystemEventLog:
    """A `HardwareLog` over one node's BMC. Safe to use from several threads."""

    title: ClassVar[str] = "BMC"

    def __init__(
        self,
        node: str,
        address: str,
        *,
        port: int = 623,
        user: str = "",
        password_file: Path | None = None,
        interface: str = "lanplus",
    ) -> None:
        """Without a `password_file` the environment variable IPMI_PASSWORD is used."""
        self._node = node
        self._address = address
        self._command = ["ipmitool", "-I", interface, "-H", address, "-p", str(port), "-N", "1", "-R", "1"]
        if user:
            self._command += ["-U", user]
        if password_file is not None:
            self._command += ["-f", str(password_file)]
        elif os.environ.get(_PASSWORD_VARIABLE):
            self._command += ["-E"]
        self._lock = threading.Lock()
        self._reading: BoundedCall[list[HardwareEvent]] | None = None
        """the run of ipmitool under way, or whose answer nobody has taken yet"""
        self._last: tuple[float, list[HardwareEvent]] | None = None
        self._clock_off: timedelta | None = None
        self._doubts: list[str] = []
        self._believed: dict[tuple[str, datetime | None], datetime] = {}
        """by number and date of a record: when it was written"""

    def events(self, *, since: datetime) -> list[HardwareEvent]:
        """Events at or after `since`, oldest first.

        A BMC that is slow does not hold a look up: for `TRUSTED_SECONDS` its last answer stands. Raises
        HardwareLogUnavailable when it does not answer, refuses, or ipmitool is missing.
        """
        with self._lock:
            if self._reading is None:
                self._reading = BoundedCall(self._read, name=f"bmc-{self._node}")
            reading = self._reading
            last = self._last
        if reading.wait(FIRST_PATIENCE_SECONDS if last is None else PATIENCE_SECONDS):
            with self._lock:
                if self._reading is reading:
                    self._reading = None
            try:
                last = self._last = (time.monotonic(), reading.result())
            except Exception as error:
                if last is None or time.monotonic() - last[0] > TRUSTED_SECONDS:
                    if isinstance(error, HardwareLogUnavailable):
                        raise
                    raise HardwareLogUnavailable(
                        f"the BMC's event log can't be read: {error!r}", hint="report this"
                    ) from error
        elif last is None or time.monotonic() - last[0] > TRUSTED_SECONDS:
            raise HardwareLogUnavailable(
                f"BMC {self._address} of node {self._node!r} has not answered", hint="check its network and its address"
            )
        return [event for event in last[1] if event.time >= since]

    def printed(self) -> str:
        """The whole log as ipmitool prints it. Raises HardwareLogUnavailable."""
        return self._run("-c", "-Z", "sel", "elist")

    def doubts(self) -> list[str]:
        """What the last reading could not make sense of, one line each."""
        return list(self._doubts)

    def _read(self) -> list[HardwareEvent]:
        now = datetime.now(UTC)
        lines = list(sel_lines(self._run("-c", "-Z", "sel", "elist").splitlines()))
        records = [line for line in lines if line is not None]
        stamps = [line.at for line in records]
        if records and (self._clock_off is None or self._is_doubtful(stamps, now)):
            # A clock may be set while we look: the order of the records shows it.
            self._clock_off = self._clock_difference()
        dated = date_records(stamps, now=now, clock_off=self._clock_off or timedelta(0))
        # What was believed when a record was new stays: the clock may have been set since.
        known = self._believed
        self._believed = {
            (line.id, line.at): known.get((line.id, line.at), at) for line, at in zip(records, dated.times, strict=True)
        }
        times = [self._believed[line.id, line.at] for line in records]
        events, self._doubts = events_of_records(self._node, records, now=now, times=times)
        self._doubts += dated.doubts()
        if self._clock_off:
            seconds = self._clock_off.total_seconds()
            self._doubts.append(f"the BMC's clock is {abs(seconds):.0f} s {'behind' if seconds > 0 else 'ahead'}")
        return events

    def _is_doubtful(self, stamps: Sequence[datetime | None], now: datetime) -> bool:
        """Whether some record can't have been written when the BMC's clock, as far as it is known, says."""
        off = self._clock_off or timedelta(0)
        known = [stamp + off for stamp in stamps if stamp is not None]
        return any(at > now + AHEAD for at in known) or any(b < a - BACK for a, b in pairwise(known))

    def _clock_difference(self) -> timedelta:
        """What to add to the BMC's times. A BMC that has lost its clock would otherwise date its records decades ago."""
        at = parse_stamp(self._run("-Z", "sel", "time", "get"))
        if at is None:
            return timedelta(0)
        off = datetime.now(UTC) - at
        return off if abs(off.total_seconds()) > _WRONG_CLOCK else timedelta(0)

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                capture_output=True, text=True, errors="replace", timeout=20, check=False, stdin=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C"},  # newer ones print the locale's dates
            )  # fmt: skip
        except FileNotFoundError:
            raise HardwareLogUnavailable("ipmitool is not installed", hint="install the package ipmitool") from None
        except subprocess.TimeoutExpired:
            raise HardwareLogUnavailable(
                f"BMC {self._address} of node {self._node!r} did not answer within 20 s", hint="check its network"
            ) from None
        if "Cipher Suites" in done.stderr and "-C" not in self._command:
            # It fell back to suite 3 after waiting for an answer; the next runs need not wait.
            self._command += ["-C", "3"]
        if done.returncode != 0:
            why = " ".join((done.stderr or done.stdout).split())[:200] or f"exit code {done.returncode}"
            raise HardwareLogUnavailable(
                f"BMC {self._address} of node {self._node!r} gave no event log: {why}",
                hint="check bmc.address, bmc.user and bmc.password_file in the settings",
            )
        return done.stdout
