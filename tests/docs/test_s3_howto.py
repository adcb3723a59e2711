"""docs/how-to/archives-s3.md with the settings it shows: a guest of the SIMULATED fleet goes into a stand-in of S3."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scenes.command_line import lifeboat
from scenes.doc_commands import ROOT
from scenes.documented_fleet import documented_fleet
from scenes.stub_s3 import stub_s3

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs/how-to/archives-s3.md").read_text(encoding="utf-8")


def fenced(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return text


def said(*arguments: str) -> str:
    code, text = lifeboat(*arguments)
    assert code == 0, (arguments, text)
    return text


def test_an_archive_goes_there_and_every_byte_of_it_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text(fenced("ini").replace("…", "something"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with documented_fleet(tmp_path, monkeypatch, asks_people=False) as world, stub_s3() as s3:
        key = tmp_path / "etc/archive-key"
        key.write_text("ab" * 32)
        key.chmod(0o600)
        shown = fenced("yaml").replace("/etc/lifeboat/archive-key", str(key))
        shown = shown.replace("https://s3.example.net", s3.url)
        file = Path("lifeboat.yaml")
        before = re.sub(r"^archive_url:.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        file.write_text(before + shown)
        said("config", "check")
        found = {line["check"]: line for line in json.loads(lifeboat("doctor", "--json")[1])}
        assert (found["archives"]["health"], "our-archives" in found["archives"]["what"]) == ("ok", True)

        said("apply", "plan.json")
        (entry,) = json.loads(said("archive", "list", "--json"))
        assert [name for name in s3.objects if name.startswith("our-archives/lifeboat/") and entry["id"] in name]
        said("archive", "verify", entry["id"])
        assert world.fleet.running_on(world.batch) == []
