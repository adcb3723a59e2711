"""Whatever outsiders write, the planning model is sent the same bytes: what can't be told apart can't steer."""

from __future__ import annotations

import json
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes import evacuations as scene
from scenes import hostile
from scenes.stub_openai import calls, proposes, says, serving

from agent.llm.planner import propose
from agent.settings import LlmSettings
from models.errors import PlannerFailed
from models.fleet import Fleet
from models.risk import Driver, Risk

SIGNALS = ("psu_12v_volts", "fan_rpm")
ASK_EVERYTHING = calls(
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


def sent(texts: list[str], interface: str) -> str:
    fleet, risks = written_by(texts)
    script = [ASK_EVERYTHING, proposes(*STAY)] if interface == "tools_required" else [says("{}")]
    with serving(*script) as endpoint:
        llm = LlmSettings.model_validate({"base_url": endpoint.url, "model": "stub", "interface": interface})
        with pytest.raises(PlannerFailed):
            propose(scene.situation(fleet, risks), llm, ("node-a",))
    return json.dumps(endpoint.requests)


@cache
def harmless(interface: str) -> str:
    return sent(["harmless"], interface)


@pytest.mark.parametrize("interface", ["tools_required", "json_schema"])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_the_bytes_sent_do_not_depend_on_what_outsiders_wrote(interface: str, texts: list[str]) -> None:
    assert '"vm-5' in harmless(interface).replace("\\", ""), "the facts were sent at all"
    assert sent(texts, interface) == harmless(interface)
