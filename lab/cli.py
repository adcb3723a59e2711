"""`lifeboat lab`: the test bench on the command line."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Annotated

import typer

from lab.demo.cli import demo, preflight

app = typer.Typer(
    name="lab",
    no_args_is_help=True,
    help="Run the test bench: three real libvirt nodes with simulated hardware on this machine (needs root).",
    add_completion=False,
    rich_markup_mode=None,
)

app.command()(demo)
app.command()(preflight)

_Name = Annotated[str, typer.Option("--name", help="Which lab; several can run beside one another.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")]


@app.command()
def up(
    name: _Name = "default",
    bare: Annotated[bool, typer.Option("--bare", help="Nodes and guests only: no BMCs, no Prometheus.")] = False,
    as_json: _Json = False,
) -> None:
    """Start the lab: three nodes, seven guests, their hardware and Prometheus. Does nothing when it is up."""
    from lab.lifecycle.up import up as bring_up

    with _errors(name):
        lab = bring_up(name, _reporter(as_json), bare=bare)
        if as_json:
            _print_json(
                {
                    "name": lab.name,
                    "config": str(lab.config_path),
                    "nodes": [{"name": node.name, "address": node.address} for node in lab.nodes.values()],
                }
            )


@app.command()
def down(name: _Name = "default", as_json: _Json = False) -> None:
    """Remove the lab and all it started, also after a crash. Nothing else is touched."""
    from lab.lifecycle.down import down as take_down

    with _errors(name):
        existed = take_down(name, _reporter(as_json))
        if as_json:
            _print_json({"name": name, "existed": existed})
        else:
            _print(f"lab {name!r} is down" if existed else f"lab {name!r} was not up")


@app.command()
def status(name: _Name = "default", as_json: _Json = False) -> None:
    """Show nodes, vms, services and memory, as they answer now."""
    from lab.lifecycle.status import status as read_status

    with _errors(name):
        status_now = read_status(name)
        if as_json:
            from dataclasses import asdict

            _print_json(asdict(status_now))
        else:
            from lab.lifecycle.render import render

            render(status_now)


@app.command("break")
def break_(
    node: Annotated[str, typer.Argument(help="node-a, node-b or node-c")],
    fault: Annotated[str | None, typer.Argument(help="psu, fan, dimm, disk, nic or power")] = None,
    errors_in: Annotated[str, typer.Option(help="How long the part only flutters, such as 90s or 6m.")] = "6m",
    death_in: Annotated[str, typer.Option(help="When the node dies, counted from now; `never` to spare it.")] = "10m",
    clear: Annotated[bool, typer.Option("--clear", help="Repair the node's fault instead.")] = False,
    name: _Name = "default",
    as_json: _Json = False,
) -> None:
    """Break a node's hardware the way hardware fails: a slow flutter first, then errors, then death."""
    from dataclasses import asdict
    from typing import cast

    from lab.hardware import faults
    from lab.nodes.node import Lab
    from models.errors import BadInput

    with _errors(name):
        lab = Lab.load(name)
        if clear == (fault is not None):
            raise BadInput("expected either a fault or --clear", hint=f"faults are {', '.join(faults.KINDS)}")
        if clear:
            repaired = faults.clear(lab, node)
            kinds = ", ".join(each.kind for each in repaired)
            if as_json:
                _print_json([asdict(each) for each in repaired])
            else:
                _print(f"{node}: repaired {kinds}" if repaired else f"{node}: nothing was broken")
            return
        begun = faults.start(
            lab,
            node,
            cast(faults.FaultKind, fault),  # start() refuses what is none
            seconds_to_errors=_seconds(errors_in, "--errors-in"),
            seconds_to_death=None if death_in == "never" else _seconds(death_in, "--death-in"),
        )
        if as_json:
            _print_json(asdict(begun))
        else:
            end = "it does not die of it" if death_in == "never" else f"it dies in {death_in}"
            _print(f"{node}: {begun.kind} begins to flutter; errors in {errors_in}, {end}")


def _seconds(duration: str, option: str) -> float:
    from models.base import parse_duration
    from models.errors import BadInput

    try:
        return parse_duration(duration).total_seconds()
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


@contextmanager
def _errors(name: str) -> Generator[None]:
    """One clear line and the error's own exit code, instead of a traceback. SIGTERM and SIGHUP are taken as Ctrl-C."""
    from models.errors import LifeboatError

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    except LifeboatError as error:
        _print(f"lifeboat: {error}", to_stderr=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        from lab.nodes.node import lab_root

        rest = f"; `lifeboat lab down --name {name}` removes what is left" if lab_root(name).exists() else ""
        _print(f"lifeboat: interrupted{rest}", to_stderr=True)
        raise SystemExit(130) from None


def _print(line: str, *, to_stderr: bool = False) -> None:
    print(line, file=sys.stderr if to_stderr else sys.stdout, flush=True)


def _reporter(as_json: bool) -> Callable[[str], None]:
    return lambda line: _print(line, to_stderr=as_json)


def _print_json(value: object) -> None:
    _print(json.dumps(value))


if __name__ == "__main__":
    app()
