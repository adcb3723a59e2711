"""A good model, scripted: it decides from what it is told over the wire, as one that read its prompt well would.

It knows no scene and no answer. Everything comes from the messages of the request: the first one, and the answers of tools.
`python -m scenes.good_model` (in tests/) serves it until it is stopped, for `lifeboat eval --base-url`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from scenes.stub_openai import Answer, calls

Json = dict[str, Any]

NEVER_STOP = {"must-not-stop", "month-end", "long-job", "sole-copy"}
WORTH = {"more-important": 20.0, "sole-copy": 5.0, "less-important": 0.1, "replicated": 0.1, "may-stop": 0.5}
SOON = 86_400.0
JUMP_SHARES = 3.0
"""a reading that leaves its own spread by so many times at its end, and nothing else does, jumped"""
CALLS = 24


def _json(text: str) -> Json | None:
    """None for what is none: a tool's error is told in words."""
    try:
        return json.loads(text)
    except ValueError:
        return None


@dataclass
class Heard:
    """What the messages hold."""

    first: Json
    answers: list[tuple[str, Json, Json]] = field(default_factory=list)
    """tool, arguments, answer"""
    turns: int = 0

    @classmethod
    def of(cls, body: Json) -> Heard:
        messages = body["messages"]
        heard = cls(json.loads(next(m["content"] for m in messages if m["role"] == "user")))
        asked: dict[str, tuple[str, Json]] = {}
        for message in messages:
            for call in message.get("tool_calls") or ():
                asked[call["id"]] = (call["function"]["name"], _json(call["function"]["arguments"]) or {})
            heard.turns += message["role"] == "assistant"
            told = _json(message["content"]) if message["role"] == "tool" else None
            if told is not None and message["tool_call_id"] in asked:
                heard.answers.append((*asked[message["tool_call_id"]], told))
        return heard

    def of_tool(self, name: str) -> list[tuple[Json, Json]]:
        return [(arguments, told) for tool, arguments, told in self.answers if tool == name]

    @property
    def nodes(self) -> list[str]:
        return [each["node"] for each in self.first["nodes_to_be_emptied"]]


def step(body: Json) -> Answer:
    """The next turn: ask, try, or answer."""
    if any(tool["function"]["name"] == "give_number" for tool in body.get("tools", ())):
        return calls(("give_number", {"number": 42}))(body)
    heard = Heard.of(body)
    if not heard.of_tool("vms_on_node"):
        about = ("vms_on_node", "node_risk", "failing_together", "part_history", "hardware_events", "past_evacuations")
        asked: list[tuple[str, Json]] = [("policy_facts", {}), ("planned_work", {})]
        asked += [(tool, {"node": node}) for node in heard.nodes[:3] for tool in about]
        return _calls(asked, heard.turns)(body)
    thought = Thought(heard)
    wanted = thought.wants_targets_of()
    if wanted and not heard.of_tool("candidate_targets"):
        return _calls([("candidate_targets", {"vm": vm}) for vm in wanted], heard.turns)(body)
    drafts = thought.drafts()
    tried = heard.of_tool("judge_plan")
    for draft, (_, verdict) in zip(drafts, tried, strict=False):
        if verdict.get("passes") and verdict["expected_loss"] <= verdict["most_expected_loss"] + 1e-6:
            return _calls([("PlanDraft", draft | {"note": thought.note()})], heard.turns)(body)
    if len(tried) < len(drafts):
        return _calls([("judge_plan", drafts[len(tried)])], heard.turns)(body)
    return _calls([("PlanDraft", {"start_from": "solver", "decisions": [], "note": thought.note()})], heard.turns)(body)


def _calls(asked: list[tuple[str, Json]], turn: int) -> Any:
    """As `calls`, with ids that differ from turn to turn."""

    def made(body: Json) -> Answer:
        message = calls(*asked)(body)
        assert isinstance(message, dict)
        for call in message["tool_calls"]:
            call["id"] = f"turn-{turn}-{call['id']}"
        return message

    return made


class Thought:
    """What follows from what was heard."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self.vms: dict[str, Json] = {vm["vm"]: vm for _, told in heard.of_tool("vms_on_node") for vm in told["vms"]}
        self.doubtful = {node for node in heard.nodes if self._doubtful(node)}
        self.shared = self._failing_of_the_same()
        self.avoid = self.shared | self._taken_away_soon()
        self.base_name, self.base = self._base()

    def words(self, vm: str) -> set[str]:
        return {note["word"] for note in self.vms[vm]["notes"]}

    def worth(self, vm: str) -> float:
        worth = max(self.vms[vm]["weight"], 0.01)
        for word in self.words(vm):
            worth *= WORTH.get(word, 1.0)
        return worth

    def note(self) -> str:
        said = [f"{node}: its alarm may be false" for node in sorted(self.doubtful)]
        said += [f"{node} may fail of the same cause" for node in sorted(self.shared)]
        return "; ".join(said)[:700]

    # --- what to believe

    def _doubtful(self, node: str) -> bool:
        past = [
            p["aftermath"]
            for a, told in self.heard.of_tool("past_evacuations")
            if a["node"] == node
            for p in told["evacuations"]
        ]
        if len(past) >= 2 and set(past) == {"lived"}:
            return True
        readings = [r for a, told in self.heard.of_tool("part_history") if a["node"] == node for r in told["readings"]]
        events = [e for a, told in self.heard.of_tool("hardware_events") if a["node"] == node for e in told["events"]]
        levels = [r for r in readings if not r["own_word"] and len(r["values"]) >= 4]
        jumped = [r for r in levels if _jumped(r["values"])]
        bad_events = [e for e in events if e["worst"] != "info" and e["stands"]]
        moved = [r for r in levels if not _steady(r["values"])]
        return len(jumped) == 1 and moved == jumped and len(readings) >= 2 and not bad_events

    def _failing_of_the_same(self) -> set[str]:
        return {
            each["node"]
            for _, told in self.heard.of_tool("failing_together")
            for each in told["nodes"]
            if each["shared_parts"] and each["node"] not in self.heard.nodes
        }

    def _taken_away_soon(self) -> set[str]:
        return {
            work["node"]
            for _, told in self.heard.of_tool("planned_work")
            for work in told["work"]
            if work["starts_in_seconds"] < SOON and work["node"] not in self.heard.nodes
        }

    # --- which plan to start from

    def _base(self) -> tuple[str, dict[str, tuple[str, str | None]]]:
        solvers = {d["vm"]: (d["action"], d["target"]) for d in self.heard.first["solver_plan"]["decisions"]}
        plans = {"solver": (solvers, self.heard.first["solver_plan"]["expected_loss"], True)}
        for each in self.heard.first["alternatives"]:
            changed = {d["vm"]: (d["action"], d["target"]) for d in each["differs"]}
            plans[each["name"]] = (solvers | changed, each["expected_loss"], each["passes"])
        limit = plans["solver"][1] * 1.25 + 1e-6
        fitting = {n: p for n, (p, loss, passes) in plans.items() if passes and (loss <= limit or n == "solver")}
        best = min(fitting, key=lambda name: (round(self._faults(fitting[name]), 6), name != "solver"))
        return best, fitting[best]

    def _faults(self, plan: dict[str, tuple[str, str | None]]) -> float:
        """How much of a plan judgement is against, in worth."""
        against = 0.0
        for vm, (action, target) in plan.items():
            if vm not in self.vms:
                continue
            if target in self.avoid:
                against += self.worth(vm)
            if action in ("cold_archive", "cold_migrate") and "live_migrate" in self.vms[vm]["may"]:
                against += self.worth(vm) * (0.8 if self.words(vm) & NEVER_STOP else 0.3 if self._in_doubt(vm) else 0.0)
            if action == "stay" and self.vms[vm]["may"] and not self._in_doubt(vm):
                against += self.worth(vm)
        return against

    def _in_doubt(self, vm: str) -> bool:
        return self.vms[vm]["node"] in self.doubtful

    def _keep_running(self, vm: str) -> bool:
        return bool(self.words(vm) & NEVER_STOP) or self._in_doubt(vm)

    # --- what to change in it

    def wants_targets_of(self) -> list[str]:
        """The vms whose targets have to be known, as many as calls are left for."""
        left = CALLS - len(self.heard.answers) - 3
        stopped = [vm for vm in self.vms if self._stops_wrongly(vm)]
        placed = [vm for vm in self.vms if self.base.get(vm, ("stay", None))[1] is not None]
        badly = [vm for vm in placed if self.base[vm][1] in self.avoid]
        wanted = [*stopped, *badly, *(placed if badly else [])]
        return sorted(dict.fromkeys(wanted), key=lambda vm: -self.worth(vm))[: max(0, left)]

    def _stops_wrongly(self, vm: str) -> bool:
        action, _ = self.base.get(vm, ("stay", None))
        may_live = "live_migrate" in self.vms[vm]["may"]
        return action in ("cold_archive", "cold_migrate") and may_live and self._keep_running(vm)

    def drafts(self) -> list[Json]:
        """What to try, best first; the last is the plan it starts from, as it is."""
        replaced = self._replaced()
        ranks = self._ranks(replaced)
        drafts = [self._draft(replaced, ranks)]
        if self.doubtful:
            stays = {
                vm: ("stay", None)
                for vm in self.vms
                if self._in_doubt(vm) and self.base.get(vm, ("stay", None))[0] == "cold_migrate"
            }
            if stays:
                drafts.insert(0, self._draft(replaced | stays, ranks))
        if replaced and ranks:
            drafts.append(self._draft({}, self._ranks({})))
        if replaced or ranks:
            drafts.append(self._draft({}, {}))
        return drafts[:4]

    def _draft(self, changed: dict[str, tuple[str, str | None]], ranks: dict[str, int]) -> Json:
        decisions: list[Json] = []
        for vm in self.vms:
            action, target = changed.get(vm, self.base.get(vm, ("stay", None)))
            if vm in changed or vm in ranks:
                decision = {"vm": vm, "action": action, "target": target, "reason": self._why(vm, vm in changed)}
                decisions.append(decision | ({"urgency": ranks[vm]} if vm in ranks else {}))
        return {"start_from": self.base_name, "decisions": decisions}

    def _why(self, vm: str, changed: bool) -> str:
        words = sorted(self.words(vm))
        if words:
            return f"its owner notes: {', '.join(words)}"
        if changed and self._in_doubt(vm):
            return "the alarm may be false, so it is not stopped"
        return "its target may not last" if changed else "in its turn"

    def _ranks(self, changed: dict[str, tuple[str, str | None]]) -> dict[str, int]:
        """An order, where notes say that weights mislead: worth a second of moving, highest first."""
        if not any(self.words(vm) & (WORTH.keys() - {"sole-copy", "may-stop"}) for vm in self.vms):
            return {}
        now = self.base | changed
        moving = [vm for vm in self.vms if now.get(vm, ("stay", None))[0] != "stay"]
        size = {
            vm: self.vms[vm]["memory_bytes"] + (0 if self.vms[vm]["shared_storage"] else self.vms[vm]["disk_bytes"])
            for vm in moving
        }
        size |= {vm: self.vms[vm]["disk_bytes"] for vm in moving if now[vm][0] == "cold_archive"}
        moving.sort(key=lambda vm: -self.worth(vm) / max(1, size[vm]))
        return {vm: number for number, vm in enumerate(moving, start=1)}

    def _replaced(self) -> dict[str, tuple[str, str | None]]:
        """Another way or target for the vms whose own is against judgement; the worthiest choose first."""
        targets = {a["vm"]: told["targets"] for a, told in self.heard.of_tool("candidate_targets") if "targets" in told}
        free = {
            t["node"]: [t["free_memory_bytes"], t["free_vcpus"], set(t["anti_affinity_groups"])]
            for ts in targets.values()
            for t in ts
        }
        for vm, (_, target) in self.base.items():
            if vm in self.vms and vm not in targets and target in free:
                self._take(free[target], vm)
        changed: dict[str, tuple[str, str | None]] = {}
        for vm in sorted(targets, key=lambda vm: -self.worth(vm)):
            action, goal = self.base.get(vm, ("stay", None))
            kind = "live_migrate" if self._stops_wrongly(vm) or action == "live_migrate" else action
            fitting = [t for t in targets[vm] if kind in t["seconds_by_action"] and self._fits(free[t["node"]], vm)]
            fitting.sort(
                key=lambda t: (
                    t["node"] in self.avoid,
                    t["node"] != goal,
                    t["seconds_by_action"][kind],
                    -free[t["node"]][0],
                )
            )
            if not fitting:
                continue
            best = fitting[0]["node"]
            self._take(free[best], vm)
            if (kind, best) != (action, goal):
                changed[vm] = (kind, best)
        return changed

    def _fits(self, free: list[Any], vm: str) -> bool:
        it = self.vms[vm]
        return it["memory_bytes"] <= free[0] and it["vcpus"] <= free[1] and it["anti_affinity_group"] not in free[2]

    def _take(self, free: list[Any], vm: str) -> None:
        it = self.vms[vm]
        free[0] -= it["memory_bytes"]
        free[1] -= it["vcpus"]
        if it["anti_affinity_group"]:
            free[2].add(it["anti_affinity_group"])


def _jumped(values: list[float]) -> bool:
    """Its last values lie far from all before, and there was no way there: a part that fails drifts, a wire that breaks jumps."""
    for at in range(2, len(values)):
        before, after = values[:at], values[at:]
        spread = max(max(before) - min(before), 0.004 * abs(before[-1]), 1e-9)
        if all(abs(value - before[-1]) > 8 * JUMP_SHARES * spread / 3 for value in after):
            return True
    return False


def _steady(values: list[float]) -> bool:
    """It ends where it began."""
    return abs(values[-1] - values[0]) <= 0.02 * max(abs(value) for value in values) + 1e-9


if __name__ == "__main__":
    import threading

    from scenes.stub_openai import serving

    with serving(step) as endpoint:
        print(endpoint.url, flush=True)  # noqa: T201
        threading.Event().wait()
