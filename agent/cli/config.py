"""`lifeboat config`: whether the files are right, and what is configured by what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from agent.cli.options import ConfigOption, JsonOption, PolicyOption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.configuration.fields import ConfiguredField
    from agent.settings import Settings

config = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Check the settings and the policy, and show them."
)


@config.command()
def check(config: ConfigOption = None, policy_file: PolicyOption = None, as_json: JsonOption = False) -> None:
    """Check settings, policy, signals and the files they name, and connect to nothing (`lifeboat doctor` does).

    Exit code 2 with a line for each thing that is wrong.
    """
    from agent.cli.console import console, note, write_json
    from agent.documents import read_policy
    from agent.settings import Settings, settings_path
    from models.errors import BadInput
    from tools.signals import load_catalogue

    path = settings_path(config)
    settings = Settings.load(path)
    policy_path = policy_file or settings.policy_file
    wrong: list[str] = []
    right = [f"settings {path}"]
    signals = settings.signals_file
    checks: list[tuple[str, Callable[[], object]]] = [
        (f"policy {policy_path or '(the defaults)'}", lambda: read_policy(policy_path) if policy_path else None),
        (f"signals {signals or '(as shipped)'}", lambda: load_catalogue(signals)),
    ]
    for what, read in checks:
        try:
            read()
            right.append(what)
        except BadInput as error:
            wrong.append(str(error))
    for name, file in named_files(settings):
        if why := why_unusable(file):
            wrong.append(f"settings file {path}: {name}: {file}: {why}")
        else:
            right.append(f"{name} {file}")
    if as_json:
        write_json({"right": right, "wrong": wrong})
    else:
        for line in right:
            console().print(f"ok  {line}", markup=False, soft_wrap=True)
        for line in wrong:
            note(f"lifeboat: {line}")
    if wrong:
        raise typer.Exit(2)


@config.command()
def show(
    config: ConfigOption = None,
    policy_file: PolicyOption = None,
    origin: Annotated[bool, typer.Option("--origin", help="Also what each value comes from.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Defaults, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show settings and policy as they are used. What logs in somewhere is hidden."""
    import json
    import os

    from agent.cli.console import console, write_json
    from agent.configuration.fields import Origin, configured_fields
    from agent.documents import read_policy
    from agent.settings import Settings, settings_path
    from models.policy import Policy
    from tools.input_file import lines_of_fields

    path = settings_path(config)
    settings = Settings.load(path)
    policy_path = policy_file or settings.policy_file
    policy = read_policy(policy_path) if policy_path is not None else Policy()
    policy_lines = lines_of_fields(policy_path, what="policy") if policy_path is not None else {}
    lines = lines_of_fields(path, what="settings")
    parts: dict[str, list[ConfiguredField]] = {
        "settings": configured_fields(settings, file=path, lines=lines, variables=os.environ),
        "policy": configured_fields(policy, file=policy_path, lines=policy_lines),
    }
    shown = {
        part: [field for field in fields if everything or field.origin is not Origin.DEFAULT]
        for part, fields in parts.items()
    }
    if as_json:
        write_json({part: [vars(field) for field in fields] for part, fields in shown.items()})
        return
    out = console()
    for part, fields in shown.items():
        left_out = "" if everything else f"; {len(parts[part]) - len(fields)} more by default (--all)"
        out.print(f"{part}: {len(fields)} fields{left_out}", markup=False)
        for field in fields:
            value = field.value if isinstance(field.value, str) else json.dumps(field.value, ensure_ascii=False)
            source = f"   # {field.where or 'default'}" if origin else ""
            out.print(f"  {field.name}: {value}{source}", markup=False, soft_wrap=True)


def named_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The files that the settings name and that have to be there, each with the field that names it."""
    from pathlib import Path

    from agent.configuration.fields import leaves

    made_by_us_or_a_folder = ("state_dir", "hardware_logs", "model")
    for name, value in leaves(settings):
        if name.rpartition(".")[2] in made_by_us_or_a_folder:
            continue
        files = cast("dict[str, object]", value) if isinstance(value, dict) else {"": value}
        for key, file in files.items():
            if isinstance(file, Path) and name not in ("policy_file", "signals_file"):  # read and judged as a whole
                yield f"{name}.{key}" if key else name, file


def why_unusable(file: Path) -> str | None:
    """Why a file can't be read; None when it can."""
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except OSError as error:
        return error.strerror or str(error)
    return None
