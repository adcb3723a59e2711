"""Slack as a view of the questions: shows each, keeps it as it is in the journal, and hands on what people press.

It decides nothing and remembers nothing that matters: any lifeboat on the same journal settles any press, and a Slack that is
away costs nobody an answer. What a button carries is a random token; the journal has its SHA-256, and any answer makes it void.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from agent.approve.proposals import answer, read
from agent.approve.refusal_log import RefusalLog
from agent.approve.slack import render
from agent.approve.slack.breaker_notice import BreakerNotice
from agent.approve.slack.thread_files import AWAY, ThreadFiles, is_younger
from models.base import parse_duration
from models.errors import AlreadyDecided, BadInput, LifeboatError, NotAnApprover, Refused
from models.policy.policy import Policy
from models.proposals.states import OPEN, OVER, ApprovalState, EventKind, Proposal
from models.text import visible
from tools.ports.chat import Chat, ChatError, Command, Press
from tools.ports.clock import Clock
from tools.ports.journal import Entry, Journal, Record, Scope
from tools.ports.records.approvals import ApprovalAsked
from tools.ports.records.attempts import AttemptEnded
from tools.ports.records.chat import ChatIntended, ChatRefused, ChatSettled, ChatShown
from tools.tracing.trace import within_trace

log = structlog.get_logger("lifeboat")

LOOK_SECONDS = 0.5
"""how often the journal is looked at: every end state is shown within a second"""
PROGRESS_SECONDS = 3.0
"""how often a line of progress is edited: chat.update allows about 50 a minute"""
_POSTING_SECONDS = 30.0
"""somebody who meant to post and has not by then is gone"""
_BACK_OFF = (1.0, 60.0)
_TOKENS_KEPT = timedelta(days=7)
_GONE = frozenset({"message_not_found"})
_STUCK = frozenset({"edit_window_closed", "cant_update_message"})
_DEAF_SECONDS = 60.0
"""a socket is renewed within seconds, now and then"""
_KINDS: tuple[type[Record], ...] = (ChatIntended, ChatShown, ChatSettled)


@dataclass(frozen=True)
class _Told:
    """What the chat shows of one question, as far as the journal knows."""

    seen: int
    """seq of the newest entry"""
    place: str = ""
    shown: ChatShown | None = None
    intended: ChatIntended | None = None
    """somebody is about to show it"""
    intended_at: datetime | None = None


class SlackView:
    """One lifeboat's view. Several may share a journal."""

    def __init__(
        self,
        chat: Chat,
        journal: Journal,
        policy: Policy,
        clock: Clock,
        *,
        on_command: Callable[[Command], None] | None = None,
    ) -> None:
        self._chat, self._journal, self._policy, self._clock = chat, journal, policy, clock
        self._on_command: Callable[[Command], None] = on_command or _ignore
        self._files = ThreadFiles(chat, journal, clock)
        self._breaker = BreakerNotice(chat, journal, clock)
        self._lock = threading.RLock()
        self._listening = False
        self._not_before = 0.0
        self._failures = 0
        self._said = ""
        self._progress: dict[str, tuple[float, str]] = {}
        self._failed: set[str] = set()
        """what this one meant to post and could not"""
        self._refusals = RefusalLog(journal)
        self._deaf_since: float | None = None
        self._deaf_said = False

    @contextmanager
    def running(self) -> Generator[None]:
        """Show and listen for as long as the block runs."""
        over = threading.Event()

        def follow() -> None:
            while not over.wait(LOOK_SECONDS):
                self.look()

        thread = threading.Thread(target=follow, name="slack", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.look()
            self._chat.close()

    @within_trace()
    def look(self) -> None:
        """Bring what is shown up to the journal. Raises nothing: what fails is said once, and tried again."""
        with self._lock:
            if time.monotonic() < self._not_before:
                return
            failed: ChatError | None = None
            try:
                if not self._listening:
                    self._chat.listen(self.press, self._on_command)
                    self._listening = True
                asked = self._journal.unended(ApprovalAsked, ChatSettled, by=Scope.EVACUATION)
                for name in dict.fromkeys(entry.evacuation for entry in asked if entry.evacuation is not None):
                    failed = self._try_to_show(name) or failed
                self._breaker.look()
                self._files.look()
                if failed is not None:
                    raise failed
                self._watch_socket()
            except ChatError as error:
                self._back_off(error)
            except Exception as error:  # whatever it is, the agent goes on
                self._say(repr(error))
            else:
                if self._failures:
                    log.info("slack", message="it answers again")
                self._failures, self._said = 0, ""

    def _try_to_show(self, name: str) -> ChatError | None:
        """What Slack has against this one message keeps no other from being shown. Raises ChatError when it is away."""
        try:
            self._show(name)
        except ChatError as error:
            if error.reason in AWAY:
                raise
            return error
        return None

    def _watch_socket(self) -> None:
        """A socket that stays away is said: what people press does not arrive, and each other way works."""
        if self._chat.hears():
            if self._deaf_said:
                log.info("slack", message="what people press arrives again")
            self._deaf_since, self._deaf_said = None, False
            return
        self._deaf_since = self._deaf_since or time.monotonic()
        if not self._deaf_said and time.monotonic() - self._deaf_since > _DEAF_SECONDS:
            self._deaf_said = True
            log.warning(
                "slack", message="its socket is gone: what people press does not arrive (see `lifeboat doctor`)"
            )

    @within_trace()
    def press(self, press: Press) -> None:
        """Somebody pressed something. It was acknowledged already; what came of it they read in the message, or alone."""
        try:
            self._settle(press)
        except (Refused, BadInput) as error:
            if not isinstance(error, AlreadyDecided):
                self._record_refusal(press, error)
            self._tell(press.user, render.failed(error))
        except ChatError as error:
            self._say(str(error))
        except LifeboatError as error:
            self._tell(press.user, f"that did not work: {render.failed(error)}")
            self._say(str(error))
        except (
            Exception
        ) as error:  # the journal can't be written, or a fault of lifeboat's: never a press that is just lost
            self._tell(press.user, "that did not work, and nothing was decided: see lifeboat's log, or use a terminal")
            self._say(repr(error))
        else:
            self.look()

    def _settle(self, press: Press) -> None:
        if press.foreign:
            raise NotAnApprover(
                f"{visible(press.user, 40)} pressed it in another workspace", hint="nothing was decided"
            )
        token, _, length = press.value.partition(":")
        what = render.REJECT if press.what == render.REJECT_FORM else press.what
        intended = self._token(what, token)
        name = intended.evacuation or ""
        by, clock = f"slack:{press.user}", self._clock
        if press.what == render.DETAILS:
            self._chat.open_form(press.trigger, render.details(read(self._journal, name, clock), self._policy))
        elif press.what == render.REJECT:
            form = render.reject_form(read(self._journal, name, clock), self._policy, token)
            self._chat.open_form(press.trigger, form)
        elif press.what == render.APPROVE:
            self._answer(name, EventKind.AGREE, by, intended.seq)
        elif press.what == render.REJECT_FORM:
            why = press.answers.get(render.REASON, "").strip()
            self._answer(name, EventKind.REJECT, by, intended.seq, why=why or "no reason given")
        elif press.what == render.SNOOZE:
            try:
                off = parse_duration(length)
            except ValueError as error:
                raise Refused("that is no length of time") from error
            self._answer(name, EventKind.SNOOZE, by, intended.seq, off=off)

    def _answer(
        self,
        name: str,
        kind: EventKind,
        by: str,
        after: int,
        *,
        why: str = "",
        off: timedelta | None = None,
    ) -> None:
        answer(self._journal, name, kind, by=by, policy=self._policy, clock=self._clock, why=why, off=off, after=after)

    def _token(self, what: str, token: str) -> Entry[ChatIntended]:
        """Which question a button belongs to. Raises Refused for a token that nobody gave out."""
        wanted = hashlib.sha256(token.encode()).hexdigest()
        for entry in reversed(self._journal.of(ChatIntended, since=self._clock.now() - _TOKENS_KEPT)):
            if secrets.compare_digest(entry.record.token_sha256.get(what, ""), wanted):
                return entry
        raise Refused("that button is none of lifeboat's, or is long gone", hint="see the newest message")

    def _show(self, name: str) -> None:
        proposal, told = read(self._journal, name, self._clock), self._told(name)
        if not told.place:
            self._post(proposal, told)
        elif told.shown is None or _key(proposal) != told.shown.key:
            self._edit(proposal, told)
        elif proposal.state is ApprovalState.EXECUTING:
            self._edit_progress(proposal, told)

    def _post(self, proposal: Proposal, told: _Told) -> None:
        if _is_final(proposal):  # over before anybody could be shown it
            self._write(ChatSettled(place="", state=proposal.state, message=[]), proposal.id, told.seen)
            return
        if self._is_being_posted(told) and proposal.id not in self._failed:
            return  # another lifeboat is at it
        blocks, text = self._claim(proposal, told)
        if blocks:
            self._failed.add(proposal.id)
            # whoever meant to post it before may have done so, and not have come to write that down
            place = self._chat.find(proposal.id) if told.intended is not None else None
            if place is None:
                place = self._chat.post(blocks, text)
            else:
                self._chat.edit(place, blocks, text)
            self._failed.discard(proposal.id)
            self._write_shown(proposal, place, blocks)

    def _edit(self, proposal: Proposal, told: _Told) -> None:
        blocks, text = self._claim(proposal, told)
        if not blocks:
            return
        place = told.place
        try:
            self._chat.edit(place, blocks, text)
        except ChatError as error:
            if error.reason not in _GONE | _STUCK:
                raise
            place = self._post_beside(proposal, place, blocks, text, gone=error.reason in _GONE)
        was = told.shown.state if told.shown is not None else None
        if proposal.state is ApprovalState.ESCALATED and was is not ApprovalState.ESCALATED:
            called, line = render.escalation(proposal, self._policy)
            self._chat.post(called, line, thread=place)  # before it counts as shown: rather twice than never
        self._write_shown(proposal, place, blocks)

    def _post_beside(self, proposal: Proposal, place: str, blocks: list[render.Block], text: str, *, gone: bool) -> str:
        """Slack lets nobody change that message any more. While it can be answered a new one takes its place; else it is said
        beside it what became of it. Whoever presses a button that it still has is told what was decided."""
        if proposal.state not in OPEN:
            self._chat.post(*render.stuck(proposal, self._journal.head()), thread=None if gone else place)
            return place
        newer = self._chat.post(blocks, text)
        if not gone:
            line = "Slack lets nobody change this message any more, nor its buttons: a newer one asks the same"
            self._chat.post(*render.told(line, []), thread=place)
        return newer

    def _edit_progress(self, proposal: Proposal, told: _Told) -> None:
        over = len({entry.attempt for entry in self._journal.of(AttemptEnded, evacuation=proposal.id)})
        progress = f"{over} of {len(proposal.question.plan.moves)} over"
        at, said = self._progress.get(proposal.id, (0.0, ""))
        if progress == said or time.monotonic() - at < PROGRESS_SECONDS:
            return
        self._progress[proposal.id] = time.monotonic(), progress
        blocks, text = render.message(proposal, self._policy, tokens=None, head=self._journal.head(), progress=progress)
        try:
            self._chat.edit(told.place, blocks, text)
        except ChatError as error:
            if error.reason not in _GONE | _STUCK:
                raise

    def _claim(self, proposal: Proposal, told: _Told) -> tuple[list[render.Block], str]:
        """What to show, with fresh tokens, once the journal has it that this lifeboat is going to; empty: another was faster."""
        tokens = {button: secrets.token_hex(16) for button in render.BUTTONS} if proposal.state in OPEN else None
        hashes = {button: hashlib.sha256(token.encode()).hexdigest() for button, token in (tokens or {}).items()}
        record = ChatIntended(token_sha256=hashes, state=proposal.state, uptime=self._clock.uptime())
        if not self._write(record, proposal.id, told.seen):
            return [], ""
        return render.message(proposal, self._policy, tokens=tokens, head=self._journal.head())

    def _write_shown(self, proposal: Proposal, place: str, blocks: list[render.Block]) -> None:
        shown = render.without_tokens(blocks)
        record: Record = ChatShown(place=place, state=proposal.state, key=_key(proposal), message=shown)
        if _is_final(proposal):
            record = ChatSettled(place=place, state=proposal.state, message=shown)
        self._journal.append(record, now=self._clock.now(), evacuation=proposal.id)
        log.info("slack", evacuation=proposal.id, shown=str(proposal.state))

    def _is_being_posted(self, told: _Told) -> bool:
        if told.intended is None or told.intended_at is None:
            return False
        return is_younger(self._clock, told.intended, told.intended_at, _POSTING_SECONDS)

    def _write(self, record: Record, name: str, seen: int) -> bool:
        now = self._clock.now()
        return self._journal.append_if_newest(record, now=now, evacuation=name, seen=seen, kinds=_KINDS) is not None

    def _told(self, name: str) -> _Told:
        told = _Told(seen=0)
        for entry in self._journal.of(ChatIntended, ChatShown, ChatSettled, evacuation=name):
            match entry.record:
                case ChatIntended():
                    told = _Told(entry.seq, told.place, told.shown, entry.record, entry.at)
                case ChatShown(place=place):
                    told = _Told(entry.seq, place, entry.record)
                case ChatSettled(place=place):
                    told = _Told(entry.seq, place, None)
        return told

    def _record_refusal(self, press: Press, error: LifeboatError) -> None:
        refused = ChatRefused(
            user=visible(press.user, 40), what=visible(press.what, 40), why=visible(error.message, 200)
        )
        self._refusals.keep(refused, self._clock.now())

    def _tell(self, user: str, text: str) -> None:
        try:
            self._chat.whisper(user, render.fallback(text))
        except ChatError as error:
            self._say(str(error))

    def _back_off(self, error: ChatError) -> None:
        least, most = _BACK_OFF
        pause = error.retry_seconds if error.retry_seconds is not None else min(most, least * 2**self._failures)
        self._failures += 1
        self._not_before = time.monotonic() + pause
        self._say(str(error))

    def _say(self, line: str) -> None:
        if line != self._said:
            log.warning("slack", message=line)
        self._said = line


def _ignore(command: Command) -> None:
    """For who answers no commands."""


def _is_final(proposal: Proposal) -> bool:
    """Nothing can follow. A lifeboat that seems to be gone before it began may only be slow: that is looked at for a day."""
    by_time = proposal.last is not None and proposal.last.by == "time" and proposal.state is ApprovalState.FAILED
    return proposal.state in OVER and not (by_time and proposal.seen_at - proposal.since < timedelta(days=1))


def _key(proposal: Proposal) -> str:
    """What has to be shown anew when it changes."""
    return f"{proposal.state} {len(proposal.agreements)} {proposal.expires_at.isoformat()}"
