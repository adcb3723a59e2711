"""Files as slips, other programs and adversaries write them: one line and exit code 2, quickly, or the content."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import BadInput
from tools.input_file import read_json, read_yaml, read_yaml_mapping

BAD_YAML = {
    "an alias that holds itself": ("a: &a [*a]", "holds itself"),
    "aliases of aliases": (
        "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
                  + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]),
        "values",
    ),
    "a hundred thousand levels": ("[" * 100_000, "levels"),
    "a repeated field": ("trigger: {horizon: 2h}\nlimits: {}\ntrigger: {horizon: 1h}", "'trigger' appears twice"),
    "half a character": (r'a: "\ud800"', "not YAML"),
    "a moment nobody has": ("a: 9999-99-99T00:00:00Z", "not YAML"),
    "a list as a key": ("? [a, b]\n: c", "not YAML"),
    "no YAML at all": ("a: b: c: {", "not YAML"),
}  # fmt: skip
BAD_JSON = {
    "a repeated field": ('{"a": 1, "a": 2}', "'a' appears twice"),
    "very many repeated fields": ("{" + ", ".join(f'"k{n % 20_000}": 1' for n in range(40_000)) + "}", "appears twice"),
    "half a character": (r'{"name": "db\ud800"}', "half a character"),
    "a million levels": ("[" * 1_000_000, "levels"),
    "a number of ten thousand digits": ('{"a": ' + "9" * 10_000 + "}", "not JSON"),
}


@pytest.mark.parametrize("case", BAD_YAML)
def test_yaml_that_no_loader_should_meet_is_one_line(case: str, tmp_path: Path) -> None:
    text, why = BAD_YAML[case]
    (path := tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(BadInput, match=why) as raised:
        read_yaml(path, what="policy")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("case", BAD_JSON)
def test_json_that_no_loader_should_meet_is_one_line(case: str, tmp_path: Path) -> None:
    text, why = BAD_JSON[case]
    (path := tmp_path / "fleet.json").write_text(text)
    with pytest.raises(BadInput, match=why) as raised:
        read_json(path, what="fleet")
    assert "\n" not in str(raised.value)


def test_anchors_and_merged_mappings_are_read(tmp_path: Path) -> None:
    (path := tmp_path / "f.yaml").write_text("one: &one {a: 1, b: 2}\ntwo: {<<: *one, c: 3}\nthree: [*one, *one]\n")
    assert read_yaml_mapping(path, what="settings")["two"] == {"a": 1, "b": 2, "c": 3}


def test_a_pair_of_halves_is_a_character(tmp_path: Path) -> None:
    (path := tmp_path / "f.json").write_text(r'{"name": "\ud83d\ude80"}')
    assert read_json(path, what="fleet") == {"name": "🚀"}


def test_keys_are_text(tmp_path: Path) -> None:
    for key in ("1", "null"):
        (path := tmp_path / "f.yaml").write_text(f"{key}: a\n")
        with pytest.raises(BadInput, match="expected text as a key, found '"):
            read_yaml_mapping(path, what="settings")


def test_a_device_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.input_file.MOST_JSON_BYTES", 1 << 20)
    with pytest.raises(BadInput, match="larger than 1 MiB"):
        read_json(Path("/dev/zero"), what="fleet")
