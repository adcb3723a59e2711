"""What a language model proposes, and the two forms it may do so in: a tool call, or one choice for each vm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from agent.llm.alternatives import AlternativeName

MAX_VMS = 80
"""more vms than this and the model's answer grows too long to trust; the solver has no such limit"""
MAX_REASON = 400
MAX_NOTE = 800


class DraftDecision(BaseModel):
    """What is to happen to one vm."""

    model_config = ConfigDict(extra="forbid")

    vm: str = Field(max_length=24, description="label of the vm, such as vm-3")
    action: Literal["live_migrate", "cold_migrate", "cold_archive", "stay"]
    target: str | None = Field(
        default=None, max_length=24, description="label of a node for live_migrate and cold_migrate, else null"
    )
    reason: str = Field(default="", max_length=MAX_REASON, description="one short sentence for who approves")
    urgency: int | None = Field(
        default=None, ge=1, le=1000, description="order: 1 starts first; null leaves the order to lifeboat"
    )
    begin_in_seconds: int | None = Field(
        default=None,
        ge=0,
        le=7 * 86_400,
        description="not before so many seconds from now, off a node that is not at the trigger; null: lifeboat chooses",
    )


class PlanDraft(BaseModel):
    """The whole proposal: a decision for every vm on every node to be emptied, or a plan to start from and what differs."""

    model_config = ConfigDict(extra="forbid")

    start_from: AlternativeName | None = Field(
        default=None, description="name of a plan from the first message; vms without a decision do as it says"
    )
    decisions: list[DraftDecision] = Field(default_factory=list[DraftDecision], max_length=2 * MAX_VMS)
    note: str = Field(
        default="", max_length=MAX_NOTE, description="anything else who approves should know; may be empty"
    )


def choice_schema(choices: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """JSON Schema of an answer that picks one of `choices` for each vm: nothing can be made up or left out in it.

    Keeps to what servers that hold an answer to a schema know: objects, enums, strings, everything required.
    """

    def decision(mine: Sequence[str]) -> dict[str, Any]:
        return _closed({"choice": {"type": "string", "enum": list(mine)}, "reason": {"type": "string"}})

    decisions = _closed({vm: decision(mine) for vm, mine in choices.items()})
    return _closed({"decisions": decisions, "note": {"type": "string"}})


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def draft_of_choices(answer: Mapping[str, Any]) -> PlanDraft:
    """The draft in an answer made after `choice_schema`. Raises ValueError, with what is wrong, for anything else."""
    decisions = answer.get("decisions")
    if not isinstance(decisions, dict):
        raise ValueError("`decisions` is not an object with one entry for each vm")
    drafts: list[DraftDecision] = []
    for vm, decided in cast("dict[str, Any]", decisions).items():
        fields = cast("dict[str, Any]", decided) if isinstance(decided, dict) else {"choice": decided}
        action, _, target = str(fields.get("choice", "")).strip().partition(" ")
        drafts.append(
            DraftDecision.model_validate(
                {
                    "vm": vm,
                    "action": action,
                    "target": target.strip() or None,
                    "reason": str(fields.get("reason") or "")[:MAX_REASON],
                }
            )
        )
    return PlanDraft(decisions=drafts, note=str(answer.get("note") or "")[:MAX_NOTE])
