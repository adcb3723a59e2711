"""`lifeboat init`: a first `lifeboat.yaml` out of what Prometheus knows, and five questions."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.options import JsonOption

if TYPE_CHECKING:
    from tools.prometheus.discovery import Discovery

app = typer.Typer(rich_markup_mode=None)

_POLICY = """\
# What lifeboat may do. An empty policy is a careful one: it looks, plans, asks a person before it moves anything, and archives
# only guests whose label says so. Every field and its default: docs/policy.md, `lifeboat config show --all`.
approval:
  live_migrate: ask          # auto: may move live by itself
"""


@app.command()
def init(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="F", help="Written there, and policy.yaml beside it.")
    ] = Path("lifeboat.yaml"),
    prometheus: Annotated[str | None, typer.Option(metavar="URL", help="Prometheus, before /api/v1.")] = None,
    node_label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Label that names nodes; found out where it is not given.")
    ] = None,
    libvirt: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="libvirt of a node: qemu+tls://{node}/system. `{node}`: its name; `{address}`: where Prometheus scrapes it.",
        ),
    ] = None,
    archives: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where cold archives go: file:///srv/archives, s3://bucket; or none."),
    ] = None,
    state: Annotated[Path | None, typer.Option(metavar="DIR", help="Journal, audit log and keys.")] = None,
    check: Annotated[bool, typer.Option("--doctor/--no-doctor", help="End with `lifeboat doctor`.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Find the nodes that Prometheus knows, ask five questions, write settings and policy, and check them.

    What options answer is not asked; without a terminal every answer comes from an option or its default. Files that are there
    are not overwritten.
    """
    import yaml

    from agent.cli.console import write_json
    from agent.settings import Settings
    from models.errors import BadInput
    from tools.atomic_file import write_atomically
    from tools.prometheus.discovery import discover

    policy_path = output.parent / "policy.yaml"
    for path in (output, policy_path):
        if path.exists():
            raise BadInput(
                f"{path} is there already", hint="give another --output, or edit it: `lifeboat config check`"
            )
    if not os.access(output.parent, os.W_OK | os.X_OK):
        there = "can't be written to" if output.parent.exists() else "is not there"
        raise BadInput(f"{output}: the folder {output.parent} {there}", hint="make it first, or give another --output")
    url = _answer(prometheus, "Prometheus", "http://127.0.0.1:9090")
    found = discover(url, timeout_seconds=10.0, headers={}, node_label=node_label)
    if not as_json:
        _tell(found)
    if not found.hypervisors:
        raise BadInput(
            f"Prometheus at {url} has neither a libvirt exporter nor a node_exporter under the label {found.node_label!r}",
            hint="scrape the nodes first, or name another label with --node-label",
        )
    label = _answer(node_label, "Label that names nodes", found.node_label)
    if label != found.node_label:
        found = discover(url, timeout_seconds=10.0, headers={}, node_label=label)
    template = _answer(libvirt, "libvirt of each node", _likely_template(found))
    store = _answer(archives, "Cold archives go to (none: nothing is archived)", "none")
    state_dir = _answer(str(state) if state else None, "State", "/var/lib/lifeboat")
    content: dict[str, Any] = {
        "prometheus": {"url": url, "node_label": label},
        "nodes": [{"name": node, "libvirt_uri": _uri(template, node, found)} for node in found.hypervisors],
        "state_dir": state_dir,
        "policy_file": str(policy_path.absolute()),
    }
    if found.scrape_interval_seconds is not None:
        content["prometheus"]["scrape_interval_seconds"] = found.scrape_interval_seconds
    if store != "none":
        content["archive_url"] = store
    Settings.of(content, "the answers")  # before anything is written
    write_atomically(policy_path, _POLICY, mode=0o644)
    write_atomically(output, yaml.safe_dump(content, sort_keys=False), mode=0o644)
    if as_json:
        write_json({"settings": str(output), "policy": str(policy_path), "nodes": list(found.hypervisors)})
        return
    typer.echo(
        f"wrote {output} and {policy_path}; failure domains (rack, power feed) are yours to add: docs/configuration.md"
    )
    if check:
        from agent.cli.doctor import doctor

        doctor(config=output)


def _likely_template(found: Discovery) -> str:
    """By name; by address where this machine does not know the first node's name."""
    import socket

    first = found.hypervisors[0]
    try:
        socket.getaddrinfo(first, None)
    except OSError:
        return "qemu+tls://{address}/system" if first in found.addresses else "qemu+tls://{node}/system"
    return "qemu+tls://{node}/system"


def _uri(template: str, node: str, found: Discovery) -> str:
    """Raises BadInput where the template says nothing of the node, or its address is asked for and not known."""
    from models.errors import BadInput

    if not any(place in template for place in ("{node}", "{address}")):
        raise BadInput(
            f"libvirt URI {template!r}: nothing in it tells one node from another",
            hint="write {node} where its name goes, or {address} for the address that Prometheus scrapes",
        )
    if "{address}" in template and node not in found.addresses:
        raise BadInput(
            f"libvirt URI {template!r}: Prometheus does not say at which address {node} is",
            hint="write {node}, and let the name lead there",
        )
    return template.replace("{node}", node).replace("{address}", found.addresses.get(node, ""))


def _answer(given: str | None, question: str, default: str) -> str:
    """What an option, a person or the default says."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return default
    return str(typer.prompt(question, default=default)).strip()


def _tell(found: Discovery) -> None:
    from agent.cli.console import console
    from models.text import counted

    out = console()
    out.print(
        f"{counted(len(found.exporters), 'node')} by the label {found.node_label!r}:", markup=False, soft_wrap=True
    )
    for node, exporters in found.exporters.items():
        out.print(f"  {node}: {', '.join(exporters)}", markup=False, soft_wrap=True)
