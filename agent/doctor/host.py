"""The doctor's checks of lifeboat's own host: settings, journal and pins, archives, language model."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from functools import partial

from agent.doctor.examine import CheckContext, Finding, Health, finding
from agent.settings import LlmSettings
from agent.state.brake import tripped
from models.errors import LifeboatError
from models.extras import extra_missing
from models.text import moment, visible, without_credentials
from tools.bounded_call import BoundedCall
from tools.llm.capabilities import Capabilities

STORE_LOW_BYTES = 10 << 30
PROBE_SECONDS = 18.0
"""for up to five short questions to a language model, all of them together"""


def check_settings(context: CheckContext) -> Iterator[Finding]:
    """Enough nodes, and where they stand. (That every field can be read was checked before.)"""
    nodes = context.settings.nodes
    if not nodes:
        yield finding("settings", "nodes", Health.FAIL, "no node is named", "list the libvirt nodes under `nodes`")
    elif len(nodes) == 1:
        yield finding("settings", "nodes", Health.WARN, "one node only: nothing can move anywhere", "add the others")
    else:
        yield finding("settings", "nodes", Health.OK, f"{len(nodes)} nodes")
        domains = {node.failure_domain for node in nodes}
        if len(domains) == 1:
            what = f"all nodes are in {visible(domains.pop())!r}" if domains != {""} else "no node says where it stands"
            fix = "set failure_domain (rack, power feed) of each node, or what dies together takes vms from itself"
            yield finding("settings", "failure domains", Health.WARN, what, fix)
    if context.settings.simulated:
        yield finding("settings", "simulated", Health.WARN, "these nodes are simulated", "remove it for real ones")


def check_journal(context: CheckContext) -> Iterator[Finding]:
    """The audit log's chain holds, and the pins are those it knows of. (That it can be written was checked on opening it.)"""
    count = context.journal.verify()
    what = f"{count} record{'' if count == 1 else 's'}, the chain holds ({context.journal.name})"
    yield finding("journal", "audit log", Health.OK, what)
    standing = tripped(context.journal)
    if standing is not None:
        what = f"tripped at {moment(standing.at)} by {standing.rule}: {visible(standing.why, 200)}; nothing moves"
        yield finding(
            "journal", "breaker", Health.FAIL, what, "look at the fleet, then `lifeboat breaker reset --why TEXT`"
        )
    recorded, known = context.pins.recorded(), context.pins.known()
    for node in sorted({*recorded, *known}):
        sha256, pin = recorded.get(node), known.get(node)
        if sha256 != (pin.sha256 if pin is not None else None):
            inside = f"has {pin.sha256[:16]}… pinned" if pin is not None else "has no pin"
            what = f"pins.json {inside}, the audit log {f'says {sha256[:16]}…' if sha256 else 'knows of none'}"
            fix = (
                f"find out who changed pins.json, compare the certificate there, then `lifeboat doctor --repin {node}`"
            )
            yield finding("journal", node, Health.FAIL, what, fix)


def check_archives(context: CheckContext) -> Iterator[Finding]:
    """The store takes an object, gives it back and lets it go; the key is there."""
    from tools.archive.files import StoreFiles

    url = context.settings.archive_url
    if not url:
        what = "none is configured: nothing can be archived"
        yield finding("archives", "store", Health.WARN, what, "set archive_url in the settings")
        return
    files = StoreFiles(url, context.settings.archive_options)
    probe = f".lifeboat-doctor-{uuid.uuid4()}"
    with files.explained("the probe"):
        try:
            files.make_directory(probe)
            files.publish(f"{probe}/probe", b"lifeboat doctor was here\n")  # reads it back, too
        finally:
            files.remove(probe)
    free = files.free_bytes()
    low = free is not None and free < STORE_LOW_BYTES
    room = "free space is unknown" if free is None else f"{free / 1e9:.1f} GB free"
    what = f"an object was written, read back and removed at {url}; {room}"
    yield finding("archives", "store", Health.WARN if low else Health.OK, what, "make room there" if low else "")
    if files.names():
        yield _signatures(context)


def _signatures(context: CheckContext) -> Finding:
    """Archives that this lifeboat could not restore: of another that shares the store, mostly, whose key nobody copied here."""
    from tools.archive.store import FsspecArchiveStore

    settings = context.settings
    store = FsspecArchiveStore(
        settings.archive_url,
        key_file=settings.state_dir / "archive-signing.key",
        encryption_key_file=settings.archive_key_file,
        options=settings.archive_options,
    )
    sound, unreadable = store.survey()
    if not unreadable:
        return finding(
            "archives", "signatures", Health.OK, f"{len(sound)} there, each signed by a key that counts here"
        )
    what = f"{len(unreadable)} of {len(sound) + len(unreadable)} can't be verified here: {unreadable[0].why}"
    fix = "lifeboats that share a store share archive-signing.key, or have each other's .pub in trusted-archive-keys"
    return finding("archives", "signatures", Health.WARN, visible(what, 400), fix)


def check_language_model(context: CheckContext) -> Iterator[Finding]:
    """Each configured model answers, and in which form. It is asked how much 6 times 7 is, and nothing else."""
    asked: list[tuple[LlmSettings, str, BoundedCall[Capabilities]]] = []
    llm = context.settings.llm
    deadline = time.monotonic() + PROBE_SECONDS
    while llm is not None:
        behind = llm.fallback.model if llm.fallback else "the solver"
        call = BoundedCall(partial(_ask, llm, deadline), name="doctor-model")
        asked.append((llm, f"{visible(behind, 60)} plans meanwhile", call))
        llm = llm.fallback
    for llm, meanwhile, call in asked:
        call.wait(deadline + 1.0 - time.monotonic())
        yield _language_model(llm, meanwhile, call)


def _ask(llm: LlmSettings, deadline: float) -> Capabilities:
    try:
        from agent.llm.connection import api_key, endpoint_of, explained, http_client  # openai takes a second to import
        from tools.llm.endpoint import probe
    except ModuleNotFoundError as error:
        raise extra_missing(error) or error from error

    seconds = min(llm.timeout_seconds, PROBE_SECONDS)
    quick = llm.model_copy(update={"timeout_seconds": seconds})
    try:
        with http_client(min(deadline, time.monotonic() + seconds), timeout_seconds=seconds, transport=None) as client:
            return probe(endpoint_of(quick, api_key(llm), client))
    except Exception as error:
        raise explained(error, quick) from error


def _language_model(llm: LlmSettings, meanwhile: str, call: BoundedCall[Capabilities]) -> Finding:
    where = visible(without_credentials(llm.base_url), 80)
    error = call.error if call.over else None
    if not call.over or error is not None:
        why = f"the language model at {where} did not answer every question within {PROBE_SECONDS:g} s"
        fix = "look whether the server is busy; a slow one may still plan within llm.timeout_seconds"
        if isinstance(error, LifeboatError):
            why, fix = error.message, error.hint
        elif error is not None:
            raise error
        return finding("language model", where, Health.WARN, f"{why}; {meanwhile}", fix)
    found = call.result()
    what = f"{visible(llm.model, 60)} answers by {found.interface.value}"
    if found.missing:
        what += f" ({', '.join(f'{form.value}: {visible(why, 60)}' for form, why in found.missing.items())})"
    return finding("language model", where, Health.OK, what)
