"""What an endpoint can, and the small file in which that is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from models.base import UtcTime, Value
from tools.atomic_file import write_atomically

REMEMBERED_FOR = timedelta(days=7)
"""a server is upgraded now and then; asking again costs one to five short answers"""
LLM_DIRECTORY = "llm"
"""in state_dir: what endpoints can, what was said, what it cost"""


class Interface(StrEnum):
    """How a model can be made to answer in a given form, best first."""

    TOOLS_REQUIRED = "tools_required"
    """it calls tools, and can be made to call one (`tool_choice: required`)"""
    TOOLS_AUTO = "tools_auto"
    """it calls tools when it wants to"""
    JSON_SCHEMA = "json_schema"
    """no tools; its answer is held to a schema (`response_format: json_schema`)"""
    JSON_OBJECT = "json_object"
    """the same, asked for the way llama-cpp-python has it (`response_format: json_object` with a `schema`)"""
    PLAIN_JSON = "plain_json"
    """no tools and no schema; what it writes is read as JSON"""

    @property
    def has_tools(self) -> bool:
        return self in (Interface.TOOLS_REQUIRED, Interface.TOOLS_AUTO)


class Capabilities(Value):
    """What one endpoint can do with one model."""

    interface: Interface
    """the best that worked"""
    refused: tuple[str, ...] = ()
    """request parameters it does not take, of `temperature` and `max_tokens`"""
    missing: dict[Interface, str] = Field(default_factory=dict)
    """better ones that did not work, each with why"""


class _Remembered(Value):
    base_url: str
    model: str
    capabilities: Capabilities
    found_at: UtcTime


_MEMORY = TypeAdapter(tuple[_Remembered, ...])


@dataclass(frozen=True)
class EndpointMemory:
    """What endpoints could, kept in one small file. It is only a saving: one that can't be read or written is none."""

    path: Path

    def recall(self, base_url: str, model: str, now: datetime) -> Capabilities | None:
        """What was found within the last week; None: nothing, so ask."""
        for each in self._all():
            if (each.base_url, each.model) == (base_url, model) and timedelta(
                0
            ) <= now - each.found_at < REMEMBERED_FOR:
                return each.capabilities
        return None

    def keep(self, base_url: str, model: str, capabilities: Capabilities | None, now: datetime) -> None:
        """Remember this; None: forget what was known."""
        kept = [each for each in self._all() if (each.base_url, each.model) != (base_url, model)]
        if capabilities is not None:
            kept.append(
                _Remembered(base_url=base_url, model=model, capabilities=capabilities, found_at=now.astimezone(UTC))
            )
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(self.path, _MEMORY.dump_json(tuple(kept), indent=1))
        except OSError:
            return

    def _all(self) -> Iterator[_Remembered]:
        try:
            yield from _MEMORY.validate_json(self.path.read_bytes())
        except (OSError, ValidationError, ValueError):
            return
