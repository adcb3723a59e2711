"""`lifeboat vm check` as an operator runs it, before anything is trusted to lifeboat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scenes.command_line import work_in
from scenes.definitions import LINUX, ROOT, UUID, definition, disk
from typer.testing import CliRunner, Result

from agent.cli.vm import vm
from models.errors import BadInput, LifeboatError

LABEL = "<metadata><lifeboat:vm xmlns:lifeboat='https://lifeboat.dev/xmlns/vm/1.0' {0}/></metadata>"
SHARED_DISK = disk("<source file='/srv/nfs/a'/>", more="<shareable/>")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def lifeboat(*arguments: str) -> Result:
    result = CliRunner().invoke(vm, ("check", *arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def check(xml: str, *options: str) -> dict[str, Any]:
    Path("vm.xml").write_text(xml)
    result = lifeboat("vm.xml", "--json", *options)
    assert result.exit_code == 0
    (checked,) = json.loads(result.stdout)["vms"]
    return checked


def obstacles(xml: str, *options: str) -> dict[str, bool]:
    return {move: why is not None for move, why in check(xml, *options)["obstacles"].items()}


def test_json_names_every_resource_and_what_becomes_of_it():
    checked = check(LINUX)
    assert (checked["name"], checked["uuid"]) == ("web", UUID)
    assert checked["obstacles"] == {"live_migrate": None, "cold_migrate": None, "cold_archive": None}
    fates = {each["what"]: (each["live_migrate"], each["cold_migrate"]) for each in checked["resources"]}
    assert fates["disk vda"] == ("copied", "copied")
    assert fates["firmware"] == ("present at the target (to be checked)",) * 2
    assert any("fedora.qcow2" in line for line in checked["only_a_host_can_tell"])


def test_obstacles_are_an_answer_not_a_failure_and_people_get_a_table():
    Path("a.xml").write_text(LINUX)
    Path("b.xml").write_text(definition("<serial type='dev'><source path='/dev/ttyS0'/></serial>"))
    result = lifeboat("a.xml", "b.xml")
    assert result.exit_code == 0
    assert "moves live: nothing in its definition is in the way" in result.stdout
    assert "archived: no: serial (/dev/ttyS0): it is a serial port of this host" in result.stdout


def test_what_comes_from_outside_can_not_write_to_the_terminal():
    Path("a.xml").write_text(LINUX.replace("<name>web<", "<name>w\u202eeb<"))
    assert "\u202e" not in lifeboat("a.xml").stdout


@pytest.mark.parametrize("content", ["<domain", "", "<network><name>x</name></network>", "\x00"])
def test_what_is_no_definition_is_bad_input_by_name(content: str):
    Path("odd.xml").write_text(content)
    with pytest.raises(BadInput, match=r"odd\.xml: not a libvirt domain") as raised:
        lifeboat("odd.xml", "--json")
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)


def test_a_file_far_larger_than_any_definition_is_not_read():
    Path("huge.xml").write_text(LINUX + " " * (3 << 20))
    with pytest.raises(BadInput, match=r"huge\.xml: longer than \d+ bytes"):
        lifeboat("huge.xml")


def test_a_file_that_is_not_there_is_bad_input():
    with pytest.raises(BadInput, match=r"none\.xml"):
        lifeboat("none.xml")


def test_shared_paths_count_by_option_and_by_settings(here: Path):
    assert obstacles(definition(SHARED_DISK))["cold_migrate"]
    assert not obstacles(definition(SHARED_DISK), "--shared-path", "/srv/nfs")["cold_migrate"]
    (here / "lifeboat.yaml").write_text("shared_paths: [/srv/nfs]\n")
    assert not obstacles(definition(SHARED_DISK))["live_migrate"]


def test_a_label_that_forbids_or_can_not_be_read_keeps_its_guest_from_an_archive():
    for label in ("cold-archive='forbidden'", "priority='urgent' cold-archive='allowed'"):
        assert obstacles(definition(ROOT, metadata=LABEL.format(label)))["cold_archive"]
    assert not obstacles(definition(ROOT, metadata=LABEL.format("cold-archive='allowed'")))["cold_archive"]


def test_a_policy_is_judged_too_when_one_is_named(here: Path):
    (here / "p.yaml").write_text("archive: {priorities: [low]}\ncold_migrate: {priorities: [low]}\n")
    normal, low = (
        definition(ROOT, metadata=LABEL.format(f"priority='{p}' cold-archive='allowed'")) for p in ("normal", "low")
    )
    assert obstacles(normal, "--policy", "p.yaml") == {
        "live_migrate": False,
        "cold_migrate": True,
        "cold_archive": True,
    }
    assert not any(obstacles(low, "--policy", "p.yaml").values())
    assert obstacles(definition(ROOT), "--policy", "p.yaml")["cold_archive"], "nobody consented"
    (here / "p.yaml").write_text("protected: [web]\n")
    assert all(obstacles(low, "--policy", "p.yaml").values())


def test_a_broken_policy_is_told(here: Path):
    (here / "p.yaml").write_text("archive: 5\n")
    with pytest.raises(LifeboatError):
        check(LINUX, "--policy", "p.yaml")


@pytest.mark.parametrize("key", ["-1", "7", "null"])
def test_a_setting_whose_key_is_no_text_is_bad_input(key: str):
    Path("lifeboat.yaml").write_text(f"archive_options: {{{key}: true}}\n")
    Path("vm.xml").write_text(LINUX)
    with pytest.raises(BadInput, match="archive_options"):
        lifeboat("vm.xml", "-c", "lifeboat.yaml")
