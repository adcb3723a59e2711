"""An evidence folder is judged as its sources would have been; what is wrong with it is one line, and the rest is judged."""

from __future__ import annotations

import json
import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.assess.evidence import judge_evidence
from agent.cli.assess import app
from agent.observe.evidence import open_evidence
from models.errors import BadInput
from models.policy.policy import Policy

AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
UE = "EDAC MC0: 1 UE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x12f03a)"
AC_LOST = "1,11/20/26,11:50:00 UTC,Power Supply PS1 Status,Power Supply AC lost,Asserted"


def folder(tmp_path: Path, **files: str | bytes) -> Path:
    """Files of a folder; `__` in a name stands for `/`, `_.` for `.`."""
    for name, content in files.items():
        path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return tmp_path


def judged(directory: Path, at: datetime | None = AT) -> dict[str, dict[str, Any]]:
    return {row["node"]: row for row in judge_evidence(directory, Policy(), at=at)["nodes"]}


def test_every_kind_of_log_is_read(tmp_path: Path) -> None:
    stamp = int((AT - timedelta(minutes=10)).timestamp() * 1e6)
    export = (
        f"__REALTIME_TIMESTAMP={stamp}\n_HOSTNAME=node-c\n_TRANSPORT=kernel\nSYSLOG_IDENTIFIER=kernel\nMESSAGE={UE}\n\n"
    )
    folder(
        tmp_path,
        **{
            "nodes__node-a__logs__syslog": f"Nov 20 11:50:00 node-a kernel: {UE}\n",
            "nodes__node-b__sel_dot_csv": AC_LOST + "\n",
            "nodes__node-c.example.org__journal_dot_export": export,
        },
    )
    rows = judged(tmp_path)
    assert {name: [event["kind"] for event in row["events"]] for name, row in rows.items()} == {
        "node-a": ["memory-uncorrected"],
        "node-b": ["power-lost"],
        "node-c.example.org": ["memory-uncorrected"],
    }
    assert {name: row["tier"] for name, row in rows.items()} == {
        "node-a": "evacuate",
        "node-b": "cordon",
        "node-c.example.org": "evacuate",
    }
    assert rows["node-b"]["events"][0] == {
        "time": "2026-11-20T11:50:00Z", "kind": "power-lost", "severity": "critical", "part": "PS1_Status",
        "part_class": "redundant", "asserted": True,
    }  # fmt: skip


def test_the_newest_time_in_it_is_the_moment_judged(tmp_path: Path) -> None:
    folder(tmp_path, **{"nodes__node-a__logs__syslog": f"2026-11-20T11:50:00Z node-a kernel: {UE}\n"})
    assert open_evidence(tmp_path).at == datetime(2026, 11, 20, 11, 50, tzinfo=UTC)


def test_a_fleet_file_says_which_nodes_and_guests_there_are(tmp_path: Path) -> None:
    fleet = {
        "observed_at": AT.isoformat(),
        "nodes": [{"name": "node-a", "memory_bytes": 1 << 36, "cpus": 8}],
        "vms": [],
    }
    folder(tmp_path, fleet_dot_json=json.dumps(fleet), **{"nodes__node-a__sel_dot_csv": AC_LOST})
    assert judged(tmp_path)["node-a"]["tier"] == "cordon"


def test_a_record_from_the_future_counts_as_now_and_is_said(tmp_path: Path) -> None:
    folder(
        tmp_path, **{"nodes__node-a__sel_dot_csv": "1,11/20/53,11:50:00 UTC,Memory ECC,Uncorrectable ECC,Asserted\n"}
    )
    row = judged(tmp_path)["node-a"]
    assert row["tier"] == "evacuate"
    assert row["events"][0]["time"] == "2026-11-20T12:00:00Z"
    assert any("dated in the future" in line for line in row["unknown"])


# ---- bad input ----


def test_a_folder_without_any_time_needs_one(tmp_path: Path) -> None:
    folder(
        tmp_path,
        metrics_dot_om='up{instance="node-a:9100"} 1\n# EOF\n',
        **{"nodes__node-a__logs__dmesg": f"[ 12.3] {UE}\n"},
    )
    with pytest.raises(BadInput, match="has a time"):
        judge_evidence(tmp_path, Policy())
    row = judged(tmp_path)["node-a"]
    assert "none of its 1 samples has a time" in row["unread"]["metrics"]
    assert any("without a date" in line or "no time" in line for line in row["unknown"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_metrics_that_promtool_refuses_are_one_line_and_the_logs_are_judged(tmp_path: Path) -> None:
    broken = 'up{instance="node-a:9100"} 1 1795175940\nup{instance=node-a} what 1795175941\n# EOF\n'
    folder(tmp_path, metrics_dot_om=broken, **{"nodes__node-a__sel_dot_csv": AC_LOST})
    row = judged(tmp_path)["node-a"]
    assert "promtool refuses metrics.om" in row["unread"]["metrics"]
    assert "\n" not in row["unread"]["metrics"]
    assert [event["kind"] for event in row["events"]] == ["power-lost"]


def test_a_log_in_another_language_is_not_taken_for_health(tmp_path: Path) -> None:
    foreign = (
        "1,20/11/26,11:50:00,Spannung P12V,Unterer kritischer Wert,Gesetzt\n"
        "2,11/20/26,11:51:00 UTC,Spannung P12V,Gefallen,Asserted\n"
    )
    folder(tmp_path, **{"nodes__node-a__sel_dot_csv": foreign})
    row = judged(tmp_path)["node-a"]
    told = " ".join(row["unknown"])
    assert "1 of 2 lines are no records" in told
    assert "1 record not understood" in told


def test_logs_of_another_year_say_nothing_of_now(tmp_path: Path) -> None:
    lines = "".join(f"2019-03-01T{hour:02d}:00:00Z node-a kernel: {UE}\n" for hour in range(24))
    folder(tmp_path, **{"nodes__node-a__logs__kern_dot_log": lines})
    row = judged(tmp_path)["node-a"]
    assert row["events"] == []
    assert any("no line for" in line for line in row["unknown"])


def test_noise_hides_nothing_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.logs.files.FIRST_READ_BYTES", 1 << 20)
    noise = random.Random(1).randbytes(3 << 20)
    line = f"\n2026-11-20T11:50:00Z node-a kernel: {UE}\n".encode()
    folder(tmp_path, **{"nodes__node-a__logs__syslog": noise + line, "nodes__node-a__sel_dot_csv": noise[: 1 << 20]})
    row = judged(tmp_path)["node-a"]
    assert [event["kind"] for event in row["events"]] == ["memory-uncorrected"]
    assert any("were not read" in line for line in row["unknown"])


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "holds neither"),
        ({"evidence_dot_json": "{"}, "evidence.json"),
        ({"evidence_dot_json": '{"time_zone": "Mars/Olympus"}', "nodes__a__sel_dot_csv": AC_LOST}, "is no time zone"),
        ({"evidence_dot_json": '{"at": "yesterday"}', "nodes__a__sel_dot_csv": AC_LOST}, "expected RFC 3339"),
    ],
)
def test_a_folder_that_is_none_is_bad_input(tmp_path: Path, files: dict[str, str], what: str) -> None:
    with pytest.raises(BadInput, match=what):
        judge_evidence(folder(tmp_path, **files), Policy())


def test_the_command_prints_json_and_keeps_to_its_options(tmp_path: Path) -> None:
    folder(tmp_path, **{"nodes__node-a__sel_dot_csv": AC_LOST})
    told = CliRunner().invoke(app, ["--evidence", str(tmp_path), "--at", "2026-11-20T12:00:00Z", "--json"])
    assert told.exit_code == 0
    (row,) = json.loads(told.stdout)["nodes"]
    written = tmp_path / "judged.json"
    assert (
        CliRunner()
        .invoke(app, ["--evidence", str(tmp_path), "--at", "2026-11-20T12:00:00Z", "-o", str(written)])
        .exit_code
        == 0
    )
    assert json.loads(written.read_text())["nodes"] == [row]
    assert set(row) == {"node", "tier", "why", "probability", "drivers", "events", "unknown", "unread"}
    with pytest.raises(BadInput, match="is no time"):
        CliRunner().invoke(app, ["--evidence", str(tmp_path), "--at", "noon"], catch_exceptions=False)
    with pytest.raises(BadInput, match="belong to --evidence"):
        CliRunner().invoke(app, ["--at", "2026-11-20T12:00:00Z"], catch_exceptions=False)
