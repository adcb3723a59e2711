"""The doctor's checks of lifeboat's own host: settings, journal and pins, archives, language model."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from agent.doctor.examine import CheckContext, Finding, Health, finding
from models.text import visible

STORE_LOW_BYTES = 10 << 30


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


def check_language_model(context: CheckContext) -> Iterator[Finding]:
    """The endpoint answers, takes the key and has the model, where one is configured. No model is asked anything."""
    llm = context.settings.llm
    if llm is None:
        return
    import requests

    behind = "the solver plans meanwhile"
    headers: dict[str, str] = {}
    if llm.api_key_file is not None:
        try:
            headers["Authorization"] = f"Bearer {llm.api_key_file.read_text(encoding='utf-8').strip()}"
        except OSError as error:
            what = f"its key {llm.api_key_file} can't be read ({error.strerror or error}); {behind}"
            yield finding("language model", llm.base_url, Health.WARN, what, "fix llm.api_key_file")
            return
    try:
        answer = requests.get(f"{llm.base_url.rstrip('/')}/models", headers=headers, timeout=5)
        models = [str(each["id"]) for each in answer.json()["data"]] if answer.ok else []
    except (requests.ConnectionError, requests.Timeout):
        yield finding("language model", llm.base_url, Health.WARN, f"does not answer; {behind}", "check llm.base_url")
        return
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        what = f"gives no list of models that can be read ({type(error).__name__})"
        yield finding("language model", llm.base_url, Health.UNKNOWN, what, "try `lifeboat plan --planner llm`")
        return
    if not answer.ok:
        what = f"refuses: HTTP {answer.status_code}; {behind}"
        fix = "renew the key" if answer.status_code in (401, 403) else "check llm.base_url"
        yield finding("language model", llm.base_url, Health.WARN, what, fix)
    elif llm.model not in models:
        listed = ", ".join(visible(model, 60) for model in models[:5]) or "none"
        what = f"answers, and does not list {llm.model}; {behind}"
        yield finding("language model", llm.base_url, Health.WARN, what, f"set llm.model; it lists {listed}")
    else:
        yield finding("language model", llm.base_url, Health.OK, f"answers and has {llm.model}")
