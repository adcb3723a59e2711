"""`lifeboat config`: whether the files are right, and what is configured by what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import ConfigOption, JsonOption, PolicyOption

if TYPE_CHECKING:
    from agent.configuration.fields import ConfiguredField

config = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Check the settings and the policy, and show them."
)


@config.command()
def check(config: ConfigOption = None, policy_file: PolicyOption = None, as_json: JsonOption = False) -> None:
    """Check settings, policy, signals and the files they name, and connect to nothing (`lifeboat doctor` does).

    Exit code 2 with a line for each thing that is wrong.
    """
    from agent.cli.console import console, note, write_json
    from agent.configuration.check import check_files
    from agent.settings import Settings, settings_path

    path = settings_path(config)
    found = check_files(Settings.load(path), path, policy_file)
    if as_json:
        write_json({"right": found.right, "wrong": found.wrong})
    else:
        for line in found.right:
            console().print(f"ok  {line}", markup=False, soft_wrap=True)
        for line in found.wrong:
            note(f"lifeboat: {line}")
    if found.wrong:
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
    from models.policy.policy import Policy
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
