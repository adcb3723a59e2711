"""What a server can is found by asking it: servers that differ, each through a real socket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import openai
import pytest
from scenes import stub_servers
from scenes.stub_openai import Step, says, serving

from tools.llm.capabilities import Capabilities, EndpointMemory, Interface
from tools.llm.endpoint import Endpoint, NoInterface, first_json_object, probe

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def found(step: Step) -> tuple[Capabilities, int]:
    with serving(step) as stub, openai.OpenAI(base_url=stub.url, api_key="none", max_retries=0) as client:
        return probe(Endpoint(client=client, model="stub")), len(stub.requests)


@pytest.mark.parametrize(
    ("step", "interface"),
    [
        (stub_servers.by_tools([]), Interface.TOOLS_REQUIRED),
        (stub_servers.tools_when_it_wants([]), Interface.TOOLS_AUTO),
        (stub_servers.forgets_its_tools({}), Interface.TOOLS_AUTO),
        (stub_servers.by_schema({}), Interface.JSON_SCHEMA),
        (stub_servers.by_object({}), Interface.JSON_OBJECT),
        (stub_servers.by_words({}), Interface.PLAIN_JSON),
    ],
)
def test_the_best_form_that_works_is_found(step: Step, interface: Interface) -> None:
    capabilities, requests = found(step)
    assert capabilities.interface is interface
    better = list(Interface)[: list(Interface).index(interface)]
    assert list(capabilities.missing) == better, "why each better one is not used can be told"
    assert requests == len(better) + 1


def test_parameters_that_a_model_refuses_are_left_out() -> None:
    capabilities, _ = found(stub_servers.reasoning([]))
    assert capabilities.interface is Interface.TOOLS_REQUIRED
    assert set(capabilities.refused) == {"temperature", "max_tokens"}


def test_a_form_that_is_taken_and_ignored_does_not_count() -> None:
    capabilities, _ = found(says('{"number": 42}'))
    assert capabilities.interface is Interface.JSON_SCHEMA
    assert capabilities.missing[Interface.TOOLS_REQUIRED] == "the model called no tool"


def test_a_model_that_only_chats_is_no_planner() -> None:
    with pytest.raises(NoInterface, match="no JSON object"):
        found(says("Forty-two!"))


@pytest.mark.parametrize("status", [401, 403, 429])
def test_what_no_other_form_would_mend_is_not_tried_five_times(status: int) -> None:
    with serving(lambda _: status) as stub, openai.OpenAI(base_url=stub.url, api_key="x", max_retries=0) as client:
        with pytest.raises(openai.APIStatusError):
            probe(Endpoint(client=client, model="stub"))
        assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('{"number": 1}', 1),
        ('```json\n{"number": 2}\n```', 2),
        ('<think>maybe {7}?</think> {"number": 3} and {"number": 4}', 3),
        ('{"number": 5} trailing', 5),
    ],
)
def test_the_first_whole_object_of_an_answer_is_read(text: str, number: int) -> None:
    assert first_json_object(text) == {"number": number}


@pytest.mark.parametrize("text", ["", "no", '{"number": ', "[1, 2]", "{" * 5000, '{"a": ' * 2000])
def test_an_answer_without_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="answer"):
        first_json_object(text)


def test_what_was_found_is_remembered_for_a_week_by_server_and_model(tmp_path: Path) -> None:
    memory = EndpointMemory(tmp_path / "llm.json")
    known = Capabilities(interface=Interface.JSON_SCHEMA, refused=("temperature",))
    memory.keep("http://a/v1", "m", known, NOW)
    memory.keep("http://b/v1", "m", Capabilities(interface=Interface.PLAIN_JSON), NOW)
    assert memory.recall("http://a/v1", "m", NOW + timedelta(days=6)) == known
    assert memory.recall("http://a/v1", "other", NOW) is None
    assert memory.recall("http://a/v1", "m", NOW + timedelta(days=8)) is None
    assert memory.recall("http://a/v1", "m", NOW - timedelta(hours=1)) is None, "from a future that a wrong clock wrote"
    memory.keep("http://a/v1", "m", None, NOW)
    assert memory.recall("http://a/v1", "m", NOW) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '[{"base_url": 1}]', "\x00\xff"])
def test_a_memory_that_cant_be_read_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "llm.json"
    path.write_text(content, encoding="latin-1")
    memory = EndpointMemory(path)
    assert memory.recall("http://a/v1", "m", NOW) is None
    memory.keep("http://a/v1", "m", Capabilities(interface=Interface.PLAIN_JSON), NOW)
    assert memory.recall("http://a/v1", "m", NOW) is not None


def test_a_memory_that_cant_be_written_costs_only_another_probe(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the directory should be")
    memory = EndpointMemory(tmp_path / "taken" / "llm.json")
    memory.keep("http://a/v1", "m", Capabilities(interface=Interface.PLAIN_JSON), NOW)
    assert memory.recall("http://a/v1", "m", NOW) is None
