"""At most one of the lifeboats that share a PostgreSQL leads: a row with an epoch, which every write of its journal checks.

Nobody compares clocks. The leader changes the row again and again; who has watched it unchanged for as long as the leader itself
gave, by time that passes while a process or a host stands still, takes over under the next epoch. Before that time is over the
leader, which counts from when it sent its last sign of life, begins nothing any more: see `RowLease.require`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from models.errors import BadInput, Busy, LifeboatError
from tools.journal.postgres_connection import Connection, Database, uptime
from tools.journal.postgres_schema import prepare, why_too_new
from tools.ports.journal import Agent, Holder, LeaseLost

LEASE_SECONDS = 12.0
"""after so long without a sign of life a leader's work is another's"""
_MARGIN = 0.85
"""the leader's own share of it: clocks of hosts don't run equally fast, and what it checks it does a moment later"""
_BEATS = 5
"""signs of life in that time"""
_LOOK_SECONDS = 0.1
_ROW = (
    "SELECT epoch, beat, agent, pid, what, seconds, avoids, extract(epoch FROM clock_timestamp() - shown)::float8 "
    "FROM lifeboat.lease WHERE id = 1"
)
_TAKE = (
    "UPDATE lifeboat.lease SET epoch = epoch + 1, beat = beat + 1, shown = clock_timestamp(), agent = %s, pid = %s, what = %s, "
    "seconds = %s, avoids = '' WHERE id = 1 AND epoch = %s AND beat = %s RETURNING epoch"
)
_BEAT = "UPDATE lifeboat.lease SET beat = beat + 1, shown = clock_timestamp(), what = %s WHERE id = 1 AND epoch = %s"
_FREE = "UPDATE lifeboat.lease SET beat = beat + 1, agent = NULL, what = '', avoids = %s WHERE id = 1 AND epoch = %s"
_HERE = (
    "INSERT INTO lifeboat.agents VALUES (%s, %s, %s, 1) "
    "ON CONFLICT (agent) DO UPDATE SET pid = excluded.pid, node = excluded.node, beat = agents.beat + 1"
)


@dataclass(frozen=True)
class _Row:
    epoch: int
    beat: int
    agent: str | None
    pid: int
    what: str
    """empty: it leads, and does nothing just now"""
    seconds: float
    avoids: str
    """the node that whoever led last handed over for, as it runs there itself"""
    silent_seconds: float
    """since its last sign of life, by the database's clock: to be shown, and nothing is decided by it"""


class _Watched:
    """Since when something has not changed, as seen from here."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[object, float, bool]] = {}

    def look(self, name: str, value: object) -> None:
        seen = self._seen.get(name)
        if seen is None or seen[0] != value:
            self._seen[name] = value, uptime(), seen is not None

    def unchanged_seconds(self, name: str) -> float:
        return uptime() - self._seen[name][1]

    def alive(self, name: str, seconds: float) -> bool:
        """It was seen to change, and not longer ago than that."""
        seen = self._seen.get(name)
        return seen is not None and seen[2] and uptime() - seen[1] < seconds


class RowLease:
    """A `Leadership` for the lifeboats that share a database. Safe for several threads."""

    def __init__(self, url: str, *, agent: str, node: str = "", seconds: float = LEASE_SECONDS) -> None:
        """`agent`: what others call this lifeboat, another name for each. `node`: of the fleet, on which it runs itself; empty:
        on none of them. Opens nothing yet. Raises BadInput when `url` is not one of PostgreSQL."""
        self.agent, self.node, self._seconds = agent, node, seconds
        self._database, self._signs = Database(url), Database(url)
        self._mutex = threading.RLock()
        self._watched = _Watched()
        self._prepared = False
        self._epoch: int | None = None
        self._until = 0.0
        self._lost = ""
        self._what = ""
        self._blocks = 0
        self._stop: threading.Event | None = None
        self._others: tuple[Agent, ...] = ()

    # what the journal and the nodes ask

    def epoch(self) -> int | None:
        """Under which everything is written now; that of a lease which was lost, too, until what it was for is over."""
        return self._epoch

    def require(self, *, patience_seconds: float = 0.0) -> None:
        deadline = uptime() + patience_seconds
        while self._epoch is not None and not self._lost and uptime() >= self._until and uptime() < deadline:
            time.sleep(_LOOK_SECONDS)
        if self._epoch is None:
            raise LeaseLost(f"{self.agent} does not lead: nothing is begun here")
        if self._lost:
            raise LeaseLost(f"{self.agent} leads no longer ({self._lost}): nothing more is begun here")
        if uptime() >= self._until:
            raise LeaseLost(
                f"{self.agent} can't tell whether it still leads: no answer of database {self._database.name} for "
                f"{self._seconds * _MARGIN:.0f} s; nothing is begun before there is one"
            )

    # Lease

    @contextmanager
    def hold(self, what: str) -> Generator[None]:
        with self._mutex:
            if self._blocks and not self._valid():
                raise Busy(
                    f"{self.agent} was at work on {self._what} when it lost the lease",
                    hint="nothing was changed; what it did is seen to its end first",
                )
            led_before = self._valid()
            if led_before:
                self._sign(self._database, what)
            else:
                self._forget()
        if not led_before:
            self._take_for(what)
        self._blocks += 1
        try:
            yield
        finally:
            self._blocks -= 1
            self._what = ""
            if not led_before:
                self.resign()
            elif self._valid():
                with suppress(LifeboatError):  # then the next sign of life says so
                    self._sign(self._database, "")

    def holder(self) -> Holder | None:
        row = self._row()
        if row.agent is None or not row.what or row.silent_seconds > row.seconds:
            return None
        return Holder(row.pid, row.what, row.agent)

    # Leadership

    def lead(self) -> bool:
        """Be the leader, or stay it, where nobody else is. Never waits. Raises BadInput when the database does not answer, and
        when a newer lifeboat has brought it up to date: then this one leads no more, once it is not at work any longer."""
        with self._mutex:
            if self._valid():
                if not self._blocks:
                    self._make_way_for_newer()
                return True
            if self._epoch is not None and not self._lost and uptime() >= self._until:
                return False  # away: the next sign of life that arrives says which it is
            if self._blocks:
                return False  # what was begun under a lease that is lost is watched to its end first
            self._forget()
            row = self._row()
            with self._database.explained():
                too_new = why_too_new(self._database)
            if too_new is not None:
                raise too_new
            if row.agent is not None and not self._stale(row):
                return False
            if row.agent is None and row.avoids and row.avoids == self.node and self._somebody_elsewhere():
                return False
            return self._take(row, "")

    def resign(self, *, avoiding: str = "") -> None:
        with self._mutex:
            epoch, lost = self._epoch, self._lost
            self._forget()
            if epoch is None or lost:
                return
            try:
                self._database.run(lambda connection: connection.execute(_FREE, (avoiding, epoch)))
            except psycopg.Error:
                return  # then it runs out

    def others(self) -> tuple[Agent, ...]:
        """The other lifeboats that were heard of lately, while this one was `standing_by`."""
        return self._others

    def leader(self) -> str:
        row = self._row()
        return row.agent or ""

    @contextmanager
    def standing_by(self) -> Generator[None]:
        self._prepare()
        over = threading.Event()
        thread = threading.Thread(target=self._tell_of_itself, args=(over,), name="presence", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.resign()

    def close(self) -> None:
        self.resign()
        self._database.close()
        self._signs.close()

    # how

    def _valid(self) -> bool:
        return self._epoch is not None and not self._lost and uptime() < self._until

    def _take_for(self, what: str) -> None:
        """As a command does: at once where nobody is at work, else as soon as it is sure that whoever was is gone."""
        first = self._row()
        while True:
            with self._mutex:
                row = self._row()
                if row.agent is None or not row.what or self._stale(row):
                    if self._take(row, what):
                        return
                elif (row.epoch, row.beat) != (first.epoch, first.beat):
                    raise Busy(
                        f"another lifeboat ({row.agent}, pid {row.pid}) is at work on {row.what}; nothing was changed",
                        hint="a plan is judged for a fleet that nobody else changes: wait for it, see `lifeboat "
                        "status`, or `lifeboat cancel` it",
                    )
            time.sleep(_LOOK_SECONDS)

    def _take(self, row: _Row, what: str) -> bool:
        sent = uptime()
        values = (self.agent, os.getpid(), what, self._seconds, row.epoch, row.beat)
        with self._database.explained():
            found = self._database.run(lambda connection: connection.execute(_TAKE, values).fetchone())
        if found is None:
            return False
        self._epoch, self._lost, self._what = int(found[0]), "", what
        self._until = sent + self._seconds * _MARGIN
        self._stop = threading.Event()
        threading.Thread(target=self._keep, args=(self._stop,), name=f"lease {self._epoch}", daemon=True).start()
        return True

    def _sign(self, database: Database, what: str) -> None:
        """A sign of life, with what it is at work on. Raises Busy when somebody else leads by now, and BadInput."""
        epoch, sent, self._what = self._epoch, uptime(), what
        if epoch is None:
            return
        with database.explained():
            kept = database.run(lambda connection: connection.execute(_BEAT, (what, epoch)).rowcount)
        if self._epoch != epoch:
            return
        if not kept:
            self._lost = self._who_leads()
            raise Busy(f"{self.agent} leads no longer: {self._lost}", hint="nothing was changed")
        self._until = max(self._until, sent + self._seconds * _MARGIN)

    def _keep(self, stop: threading.Event) -> None:
        """Signs of life, until it is over. While the database is away there are none, and `require` sees to the rest."""
        while not stop.wait(self._seconds / _BEATS):
            try:
                self._sign(self._signs, self._what)
            except Busy:
                return
            except BadInput:
                continue

    def _tell_of_itself(self, over: threading.Event) -> None:
        def tell(connection: Connection) -> list[tuple[Any, ...]]:
            connection.execute(_HERE, (self.agent, os.getpid(), self.node))
            return connection.execute("SELECT agent, pid, node, beat FROM lifeboat.agents").fetchall()

        watched, database = _Watched(), Database(self._database.url)
        while not over.is_set():
            try:
                found = database.run(tell)
            except psycopg.Error:
                found = []
            for agent, pid, _, beat in found:
                watched.look(agent, (pid, beat))
            self._others = tuple(
                Agent(name=agent, node=node)
                for agent, _, node, _ in found
                if agent != self.agent and watched.alive(agent, self._seconds)
            )
            over.wait(self._seconds / _BEATS)
        with suppress(psycopg.Error):
            database.run(
                lambda connection: connection.execute("DELETE FROM lifeboat.agents WHERE agent = %s", (self.agent,))
            )
        database.close()

    def _make_way_for_newer(self) -> None:
        too_new = None
        with suppress(psycopg.Error):  # away: it leads on until its lease is over
            too_new = why_too_new(self._database)
        if too_new is not None:
            self.resign()
            raise too_new

    def _somebody_elsewhere(self) -> bool:
        return any(other.node != self.node for other in self._others)

    def _stale(self, row: _Row) -> bool:
        """Whether whoever leads has shown no sign of life for as long as it gave itself, watched from here."""
        self._watched.look("leader", (row.epoch, row.beat))
        return self._watched.unchanged_seconds("leader") >= row.seconds

    def _who_leads(self) -> str:
        try:
            row = self._row()
        except Exception:
            return "another lifeboat leads"
        return (
            f"{row.agent or 'nobody'} leads under epoch {row.epoch}" if row.epoch != self._epoch else "it was given up"
        )

    def _forget(self) -> None:
        if self._stop is not None:
            self._stop.set()
        self._epoch, self._stop, self._lost, self._until = None, None, "", 0.0

    def _row(self) -> _Row:
        self._prepare()
        with self._database.explained():
            found = self._database.run(lambda connection: connection.execute(_ROW).fetchone())
        assert found is not None
        row = _Row(*found)
        self._watched.look("leader", (row.epoch, row.beat))
        return row

    def _prepare(self) -> None:
        if not self._prepared:
            prepare(self._database)
            self._prepared = True
