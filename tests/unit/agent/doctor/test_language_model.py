"""What the doctor says of a language model: in which form it answers, and what to mend where it does not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from scenes import stub_servers
from scenes.odd_servers import Reply, answering, refusal
from scenes.stub_openai import Step, says, serving

from agent.doctor.examine import CheckContext, Finding, Health
from agent.doctor.host import check_language_model
from agent.settings import LlmSettings, Settings
from agent.state.certificate_pins import Pins
from models.policy.policy import Policy
from tools.clock import SystemClock
from tools.journal.sqlite import SqliteJournal


def findings(llm: LlmSettings | None) -> list[Finding]:
    clock = SystemClock()
    with TemporaryDirectory() as directory, closing(SqliteJournal(Path(directory) / "journal.sqlite")) as journal:
        context = CheckContext(
            settings=Settings(llm=llm, state_dir=Path(directory)),
            policy=Policy(),
            nodes={},
            journal=journal,
            pins=Pins(Path(directory) / "pins.json", journal, clock),
            clock=clock,
        )
        return list(check_language_model(context))


def said_of(step: Step) -> Finding:
    with serving(step) as stub:
        (finding,) = findings(LlmSettings(base_url=stub.url, model="m"))
    return finding


@pytest.mark.parametrize(
    ("step", "form"),
    [
        (stub_servers.by_tools([]), "tools_required"),
        (stub_servers.by_object({}), "json_object"),
        (stub_servers.by_words({}), "plain_json"),
    ],
)
def test_it_says_in_which_form_a_model_answers_and_why_in_no_better_one(step: Step, form: str) -> None:
    finding = said_of(step)
    assert finding.health is Health.OK
    assert f"answers by {form}" in finding.what
    assert ("tools_required:" in finding.what) is (form != "tools_required")


@pytest.mark.parametrize(
    ("step", "what", "fix"),
    [
        (lambda _: (401, "bad key"), "HTTP 401", "api_key_file"),
        (lambda _: (404, "no such model"), "HTTP 404", "llm.model"),
        (lambda _: (429, "quota"), "HTTP 429", "docs/llm.md"),
        (says("<html>Welcome</html>"), "no form that can be read", "docs/llm.md"),
    ],
)  # fmt: skip
def test_what_does_not_work_is_one_line_with_what_to_mend(step: Step, what: str, fix: str) -> None:
    finding = said_of(step)
    assert finding.health is Health.WARN, "the solver plans without it"
    assert what in finding.what
    assert "the solver plans meanwhile" in finding.what
    assert "\n" not in finding.what
    assert fix in finding.fix


@pytest.mark.parametrize(
    ("reply", "what", "fix"),
    [
        (Reply(body="<html>Grafana</html>", kind="text/html"), "it sent a web page", "llm.base_url"),
        (refusal(429, "You exceeded your current quota"), "the account's quota is used up", "add credit"),
        (Reply(body=" ", endless=True), "did not answer", "llm.timeout_seconds"),
    ],
)
def test_what_is_no_model_at_all_is_told_as_at_run_time(reply: Reply, what: str, fix: str) -> None:
    patience = 0.3 if reply.endless else 30.0  # what answers may be slow to
    with answering(reply) as server:
        (finding,) = findings(LlmSettings(base_url=server.url, model="m", timeout_seconds=patience))
    assert finding.health is Health.WARN
    assert what in finding.what
    assert fix in finding.fix


def test_nobody_there_a_key_that_is_missing_and_a_fallback_are_each_told(tmp_path: Path) -> None:
    second = LlmSettings(base_url="http://127.0.0.1:9/v1", model="small", api_key_file=tmp_path / "key")
    first, other = findings(LlmSettings(base_url="http://127.0.0.1:9/v1", model="big", fallback=second))
    assert "can't be reached; small plans meanwhile" in first.what
    assert "key file" in other.what


def test_without_one_there_is_nothing_to_say() -> None:
    assert findings(None) == []
