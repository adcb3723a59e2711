"""A field that this version does not know: what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel
from scenes.command_line import lifeboat

from agent.settings import Settings
from agent.unknown_fields import FORMERLY, why_unknown
from models.errors import BadInput
from models.policy.policy import Policy


class Inner(BaseModel):
    address: str = ""


class Outer(BaseModel):
    inner: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (("inner", 0, "host"), "an older version knew it; write address"),
        (("inner", 3, "adress"), "not known here, did you mean address?"),
        (("inner", 0, "zzz"), "not known here"),
        (("inner", 0, "unheard", "of"), "not known here"),
        (("innner",), "not known here, did you mean inner?"),
    ],
)
def test_what_to_write_instead_is_said_where_it_is_known(location: tuple[int | str, ...], said: str) -> None:
    assert why_unknown(Outer, location, {"Outer": {"inner.host": "write address"}}) == said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("durable_url: postgresql://db/x\n", "durable_url: an older version knew it; write database_url"),
        ("intervall: 3s\n", "intervall: not known here, did you mean interval?"),
        (
            "nodes: [{name: a, libvirt_uri: 'test:///default', libvirt_readuri: x}]\nloki: 1\n",
            "nodes[0] (a).libvirt_readuri: not known here, did you mean libvirt_read_uri?",
        ),
        ("forecast: {modl: x}\n", "forecast.modl: not known here, did you mean model?"),
    ],
)
def test_settings_of_another_version_or_misspelt_are_one_line(settings: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "lifeboat.yaml"
    file.write_text(settings)
    code, text = lifeboat("config", "check", "--config", str(file))
    assert code == BadInput.exit_code
    assert said in text
    assert len(text.strip().splitlines()) == 1


def test_a_policy_names_what_may_be_meant_as_well(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("migration: {max_downtme: 3s}\n")
    _, text = lifeboat("guard", "plan.json", "--fleet", "fleet.json", "--policy", str(policy))
    assert "migration.max_downtme: not known here, did you mean max_downtime?" in text


@pytest.mark.parametrize("model", [Settings, Policy])
def test_what_is_said_to_be_of_an_older_version_is_no_field_of_this_one(model: type[BaseModel]) -> None:
    assert not {name.partition(".")[0] for name in FORMERLY[model.__name__] if "." not in name} & set(
        model.model_fields
    )
