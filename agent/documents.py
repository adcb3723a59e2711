"""Reading and writing fleet.json, risks.json, plan.json and policy.yaml. Whatever is wrong is one line: file, field, expected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from agent.unknown_fields import why_unknown
from models.errors import BadInput, FleetInvalid, PolicyInvalid
from models.fleet import Fleet
from models.knowledge import Knowledge
from models.plan import Plan
from models.policy.policy import Policy
from models.risk.risk import Risk
from models.text import counted, visible
from tools.atomic_file import write_atomically
from tools.input_file import kind_of, read_json, read_yaml_mapping

Risks = TypeAdapter(list[Risk])
_T = TypeVar("_T")

SCHEMAS: dict[str, type[BaseModel] | TypeAdapter[list[Risk]]] = {
    "fleet": Fleet,
    "risks": Risks,
    "plan": Plan,
    "policy": Policy,
    "knowledge": Knowledge,
}
"""The files lifeboat reads and writes, by name."""


def read_fleet(path: Path) -> Fleet:
    """The fleet in a file. Raises FleetInvalid."""
    return _valid(path, "fleet", TypeAdapter(Fleet), _mapping(path, "fleet", FleetInvalid), FleetInvalid)


def read_risks(path: Path) -> list[Risk]:
    """The risks in a file, one a node. Raises BadInput, for a node that appears twice as well."""
    content = read_json(path, what="risks")
    if not isinstance(content, list):
        raise BadInput(
            f"risks file {path}: expected a list, found {kind_of(content)}", hint="see `lifeboat schema risks`"
        )
    risks = _valid(path, "risks", Risks, cast("list[Any]", content), BadInput)
    seen: set[str] = set()
    for risk in risks:
        if risk.node in seen:
            raise BadInput(f"risks file {path}: node {risk.node!r} appears twice", hint="give one risk a node")
        seen.add(risk.node)
    return risks


def read_plan(path: Path, fleet: Fleet | None = None) -> Plan:
    """The plan in a file. Raises BadInput.

    Plans from elsewhere may leave fields out: with `fleet`, a missing time is the fleet's own, a missing source is where the
    vm is, and a vm may be given by its name where that is unambiguous. What is stated is never changed.
    """
    content = _mapping(path, "plan", BadInput)
    if fleet is not None:
        content = _completed(content, fleet)
    return _valid(path, "plan", TypeAdapter(Plan), content, BadInput)


def check_plan(path: Path) -> None:
    """Raises BadInput when the file is no plan for any fleet."""
    read_plan(path, Fleet(observed_at=datetime.min.replace(tzinfo=UTC), nodes=(), vms=()))


def read_policy(path: Path) -> Policy:
    """The policy in a YAML (or JSON) file; an empty file is the default policy. Raises PolicyInvalid."""
    content = read_yaml_mapping(path, what="policy", error=PolicyInvalid)
    return _valid(path, "policy", TypeAdapter(Policy), content, PolicyInvalid)


def read_knowledge(path: Path) -> Knowledge:
    """What is known besides fleet, risks and policy. Raises BadInput."""
    return _valid(path, "knowledge", TypeAdapter(Knowledge), _mapping(path, "knowledge", BadInput), BadInput)


def write_value(path: Path, value: BaseModel | Sequence[BaseModel]) -> None:
    """Write a fleet, risks or plan as JSON, whole or not at all. Raises BadInput when the place can't be written."""
    if isinstance(value, BaseModel):
        text = value.model_dump_json(indent=2)
    else:
        text = json.dumps([item.model_dump(mode="json") for item in value], indent=2)
    try:
        write_atomically(path, text + "\n", mode=None)
    except OSError as error:
        raise BadInput(
            f"can't write {path}: {error.strerror or error}", hint="name a place that can be written"
        ) from error


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of one file. Raises BadInput for a name that is none."""
    try:
        source = SCHEMAS[name]
    except KeyError:
        raise BadInput(f"no schema {name!r}", hint=f"one of {', '.join(SCHEMAS)}") from None
    schema = source.json_schema() if isinstance(source, TypeAdapter) else source.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, **schema}


def _completed(content: dict[str, Any], fleet: Fleet) -> dict[str, Any]:
    """What a plan from elsewhere leaves out, filled in from the fleet."""
    content = {"created_at": fleet.observed_at, **{k: v for k, v in content.items() if v is not None}}
    actions = content.get("actions")
    if not isinstance(actions, list):
        return content
    by_name: dict[str, list[str]] = {}
    for vm in fleet.vms:
        by_name.setdefault(vm.name, []).append(vm.uuid)
    done: list[Any] = []
    for action in cast("list[Any]", actions):
        if isinstance(action, dict):
            fields = cast("dict[str, Any]", action)
            uuid = fields.get("vm")
            if isinstance(uuid, str) and uuid not in fleet.vm_by_uuid and len(by_name.get(uuid, ())) == 1:
                uuid = by_name[uuid][0]
                fields = {**fields, "vm": uuid}
            vm = fleet.vm_by_uuid.get(uuid) if isinstance(uuid, str) else None
            if vm is not None:
                fields = {"vm_name": vm.name, **fields}
                if not fields.get("source"):
                    fields = {**fields, "source": vm.node}
            done.append(fields)
        else:
            done.append(action)
    return {**content, "actions": done}


def _model_of(what: str) -> type[BaseModel] | None:
    schema = SCHEMAS[what]
    return schema if isinstance(schema, type) else None


def _valid(path: Path, what: str, adapter: TypeAdapter[_T], content: object, error_type: type[BadInput]) -> _T:
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        raise error_type(
            f"{what} file {path}: {field_at_fault(error, content, model=_model_of(what))}",
            hint=f"see `lifeboat schema {what}`",
        ) from error


def field_at_fault(error: ValidationError, content: object = None, *, model: type[BaseModel] | None = None) -> str:
    """The first field at fault, what was expected and what was found, and how many more there are; one line.

    An item of a list is named by its name as well: `vms[3] (db-1).memory_bytes`. `model`: of the file, to say what may be
    meant by a field that is not known.
    """
    first, *more = error.errors(include_url=False)
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    found = ""
    if first["type"] == "extra_forbidden":
        message = why_unknown(model or BaseModel, first["loc"])
    # A whole mapping as "found" says nothing; the message of a check over several fields names what it saw.
    elif first["type"] not in ("missing", "value_error") and not isinstance(first["input"], dict | list):
        found = f" (found {str(first['input'])[:60]!r})"
    rest = f"; {counted(len(more), 'more field')} {'is' if len(more) == 1 else 'are'} wrong" if more else ""
    where = _place(first["loc"], content)
    return f"{where}: {message}{found}{rest}" if where else f"{message}{found}{rest}"


def _place(location: Sequence[int | str], content: object) -> str:
    text, here = "", content
    for part in location:
        here = _inside(here, part)
        if isinstance(part, str):
            text += f".{part}" if text else part
            continue
        text += f"[{part}]"
        if isinstance(here, dict):
            fields = cast("dict[str, Any]", here)
            name = next((str(fields[key]) for key in ("name", "node", "vm") if fields.get(key)), "")
            text += f" ({visible(name, 40)})" if name else ""
    return text


def _inside(content: object, part: int | str) -> object:
    if isinstance(part, str):
        return cast("dict[str, object]", content).get(part) if isinstance(content, dict) else None
    items = cast("Sequence[object]", content) if isinstance(content, list | tuple) else ()
    return items[part] if 0 <= part < len(items) else None


def _mapping(path: Path, what: str, error_type: type[BadInput]) -> dict[str, Any]:
    content = read_json(path, what=what, error=error_type)
    if not isinstance(content, dict):
        raise error_type(
            f"{what} file {path}: expected a mapping, found {kind_of(content)}", hint=f"see `lifeboat schema {what}`"
        )
    return cast("dict[str, Any]", content)
