"""Whether settings, policy, signals and the files they name are right, without connecting to anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from agent.configuration.effect import RESTART
from agent.configuration.fields import leaves
from agent.configuration.secrets import why_no_secret
from agent.documents import read_policy
from agent.settings import Settings, variables_that_may_be_meant
from models.errors import BadInput, ExtraMissing
from models.extras import EXTRAS, missing
from tools.journal import sqlalchemy_url
from tools.libvirt.uri import usable_uri
from tools.signals import load_catalogue

_MADE_BY_US_OR_A_FOLDER = ("state_dir", "hardware_logs", "model")
_JUDGED_AS_A_WHOLE = ("policy_file", "signals_file")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found."""

    right: tuple[str, ...]
    wrong: tuple[str, ...]
    """a line each"""


def check_files(settings: Settings, path: Path, policy_file: Path | None = None) -> Checked:
    """Look at everything that the settings at `path` name; `policy_file`: in place of theirs."""
    policy, signals = policy_file or settings.policy_file, settings.signals_file
    right, wrong = [f"settings {path}"], list[str]()
    checks: list[tuple[str, Callable[[], object]]] = [
        (f"policy {policy or '(the defaults)'}", lambda: read_policy(policy) if policy else None),
        (f"signals {signals or '(as shipped)'}", lambda: load_catalogue(signals)),
    ]
    for what, read in checks:
        try:
            read()
            right.append(what)
        except BadInput as error:
            wrong.append(str(error))
    for name, file in _named_files(settings):
        if why := _why_unusable(file) or why_no_secret(name, file):
            wrong.append(f"settings file {path}: {name}: {file}: {why}")
        else:
            right.append(f"{name} {file}")
    wrong += [f"settings file {path}: {section}: {lacking}" for section, lacking in _lacking(settings)]
    wrong += [f"settings file {path}: {why}" for why in _leading_nowhere(settings)]
    wrong += variables_that_may_be_meant(os.environ)
    return Checked(right=tuple(right), wrong=tuple(wrong))


def _leading_nowhere(settings: Settings) -> Iterator[str]:
    """Addresses that nothing could be reached by."""
    if not settings.simulated:
        for node in settings.nodes:
            for uri in filter(None, (node.libvirt_uri, node.libvirt_read_uri)):
                if why := _refusal(lambda uri=uri, name=node.name: usable_uri(name, uri)):
                    yield why
    if settings.database_url is not None and (why := _refusal(lambda: sqlalchemy_url(settings.database_url or ""))):
        yield why
    if settings.archive_url:
        import fsspec

        protocol = settings.archive_url.partition("://")[0] if "://" in settings.archive_url else "file"
        if protocol not in fsspec.available_protocols():
            yield f"archive_url: no store is called {protocol[:40]}: write it like file:///srv/archives or s3://bucket/path"


def _refusal(judge: Callable[[], object]) -> str | None:
    try:
        judge()
    except BadInput as error:
        return str(error)
    return None


def _lacking(settings: Settings) -> Iterator[tuple[str, ExtraMissing]]:
    """Sections of the settings with what they need and this installation does not have."""
    used = {"llm": settings.llm is not None, "slack": settings.slack is not None}
    used["otel"] = settings.otel is not None
    used["s3"] = (settings.archive_url or "").startswith(("s3:", "s3a:"))
    used["forecast"] = bool(settings.forecast.model or settings.forecast.components or settings.forecast.retrain)
    for section in (section for section, is_used in used.items() if is_used):
        for module in EXTRAS[section].modules:
            if not _is_installed(module):
                yield section, missing(section, module)
                break


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def require_reloadable(before: Settings, path: Path, policy_file: Path | None) -> Settings:
    """What the files say now. Raises BadInput, naming all that is wrong, when a running agent can't go on with it."""
    now = Settings.load(path)
    wrong = list(check_files(now, path, policy_file).wrong)
    wrong += [
        f"settings file {path}: {name}: takes effect at a restart alone"
        for name in sorted(RESTART)
        if getattr(now, name) != getattr(before, name)
    ]
    if wrong:
        raise BadInput("; ".join(wrong), hint="the agent goes on as it was; fix the files, then reload again")
    return now


def _named_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The files that have to be there, each with the field that names it."""
    for name, value in leaves(settings):
        if name.rpartition(".")[2] in _MADE_BY_US_OR_A_FOLDER or name in _JUDGED_AS_A_WHOLE:
            continue
        files = cast("dict[str, object]", value) if isinstance(value, dict) else {"": value}
        for key, file in files.items():
            if isinstance(file, Path):
                yield f"{name}.{key}" if key else name, file


def _why_unusable(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except OSError as error:
        return error.strerror or str(error)
    return None
