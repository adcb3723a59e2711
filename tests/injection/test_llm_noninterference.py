"""Whatever outsiders write, the planning model is sent the same bytes: what can't be told apart can't steer."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from injection.channels import CHANNELS, HARMLESS
from injection.minds import InProcess, tool_calls
from scenes import evacuations as scene
from scenes import hostile

from agent.llm.planner import propose
from agent.settings import LlmSettings
from models.errors import PlannerFailed
from models.fleet import Fleet
from models.knowledge import Knowledge, NoteWord, VmNote
from models.risk.risk import Driver, Risk
from models.situation import Situation

SIGNALS = ("psu_12v_volts", "fan_rpm")
ASK_EVERYTHING = (
    ("policy_facts", {}),
    *[("node_risk", {"node": f"node-{n}"}) for n in range(1, 4)],
    *[("vms_on_node", {"node": f"node-{n}"}) for n in range(1, 4)],
    *[("candidate_targets", {"vm": f"vm-{n}"}) for n in range(1, 6)],
    ("estimate_move", {"vm": "vm-1", "action": "live_migrate", "target": "node-2"}),
    ("judge_plan", {"decisions": [{"vm": f"vm-{n}", "action": "stay"} for n in range(1, 6)]}),
)
STAY = [{"vm": f"vm-{n}", "action": "stay"} for n in range(1, 6)]

TEXTS = st.one_of(
    st.sampled_from([*hostile.MARKUP, *hostile.UNSEEN, *hostile.ORDERS]),
    st.text(max_size=60),
)


def written_by(texts: list[str]) -> tuple[Fleet, list[Risk]]:
    """The scene with `texts` in all that a guest's owner, an exporter or a log may write. Identities stay as they are."""
    fleet = scene.fleet()
    groups = sorted({vm.anti_affinity_group for vm in fleet.vms if vm.anti_affinity_group})
    domains = sorted({node.failure_domain for node in fleet.nodes if node.failure_domain})
    renamed = {name: f"{texts[n % len(texts)]} {n}" for n, name in enumerate([*groups, *domains])}

    def text(n: int) -> str:
        return texts[n % len(texts)]

    vms = tuple(
        vm.model_copy(
            update={
                "name": f"{text(n)}-{n}",
                "workload": text(n + 1),
                "probe": text(n + 2),
                "anti_affinity_group": renamed[vm.anti_affinity_group] if vm.anti_affinity_group else None,
            }
        )
        for n, vm in enumerate(fleet.vms)
    )
    nodes = tuple(
        node.model_copy(update={"failure_domain": renamed[node.failure_domain] if node.failure_domain else ""})
        for node in fleet.nodes
    )
    risks = [
        risk.model_copy(
            update={
                "drivers": tuple(Driver(signal=signal, why=text(n)) for n, signal in enumerate(SIGNALS)),
                "unknown": tuple(texts),
                "model": text(0),
                "basis": text(1),
            }
        )
        for risk in scene.risks()
    ]
    return fleet.model_copy(update={"vms": vms, "nodes": nodes}), risks


def asked(situation: Situation, interface: str, knowledge: Knowledge | None = None) -> str:
    """All that a model is sent of this, in that form."""
    script = [tool_calls(*ASK_EVERYTHING), tool_calls(("PlanDraft", {"decisions": STAY, "note": ""}))]
    server = InProcess(
        lambda body: script[sum(m["role"] == "assistant" for m in body["messages"])] if body.get("tools") else "{}"
    )
    llm = LlmSettings.model_validate({"base_url": "http://127.0.0.1:9/v1", "model": "stub", "interface": interface})
    with pytest.raises(PlannerFailed):
        propose(situation, llm, ("node-a",), knowledge=knowledge, transport=server)
    return json.dumps(server.requests)


def sent(texts: list[str], interface: str) -> str:
    fleet, risks = written_by(texts)
    return asked(scene.situation(fleet, risks), interface)


@cache
def harmless(interface: str) -> str:
    return sent(["harmless"], interface)


@pytest.mark.parametrize("interface", [pytest.param("tools_required", marks=pytest.mark.slow), "json_schema"])
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_the_bytes_sent_do_not_depend_on_what_outsiders_wrote(interface: str, texts: list[str]) -> None:
    assert '"vm-5' in harmless(interface).replace("\\", ""), "the facts were sent at all"
    assert sent(texts, interface) == harmless(interface)


@cache
def undisturbed(channel: str) -> str:
    made = CHANNELS[channel](HARMLESS)
    return asked(made.situation, "json_schema", made.knowledge)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(channel=st.sampled_from(sorted(CHANNELS)), texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_nor_on_what_comes_by_any_channel_in_its_raw_form(channel: str, texts: list[str]) -> None:
    made = CHANNELS[channel](texts)
    assert asked(made.situation, "json_schema", made.knowledge) == undisturbed(channel)


def test_of_a_note_that_was_read_its_closed_word_is_sent_and_nothing_else() -> None:
    made = CHANNELS["notes"](("keep it up until the accounts are closed",))
    batch = next(vm for vm in made.situation.fleet.vms if vm.name == "batch-1")
    known = Knowledge(notes=(VmNote(vm=batch.uuid, word=NoteWord.MONTH_END),))
    said = asked(made.situation, "json_schema", known)
    assert "accounts" not in said
    words, rest = without_notes(said)
    assert words == [{"word": "month-end", "for_seconds": None}]
    assert rest == without_notes(undisturbed("notes"))[1]


def without_notes(requests: str) -> tuple[list[Any], Any]:
    """The notes on a sheet, and the first request without them."""
    body = json.loads(json.loads(requests)[0])
    sheet = json.loads(body["messages"][1]["content"])
    words = [word for vm in sheet["facts"]["vms"] for word in vm["facts"].pop("notes")]
    return words, {**body, "messages": [body["messages"][0], sheet]}
