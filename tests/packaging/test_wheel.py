"""The wheel in an environment of its own that holds what it depends on and nothing else: no extra, no checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from models.extras import EXTRAS

ROOT = Path(__file__).parents[2]
FLEET = {
    "observed_at": "2026-11-29T07:00:00Z",
    "nodes": [
        {"name": name, "memory_bytes": 64 << 30, "cpus": 16, "cpu_model": "x", "failure_domain": name}
        for name in ("node-a", "node-b")
    ],
    "vms": [
        {
            "uuid": "11111111-1111-4111-8111-111111111111", "name": "web", "node": "node-a", "memory_bytes": 4 << 30,
            "vcpus": 2, "state": "running", "priority": "high", "disk_bytes": 1 << 30, "shared_storage": True,
        }
    ],
}  # fmt: skip
ILL, WELL = {"30m": 0.3, "2h": 0.8, "24h": 0.95, "7d": 0.99}, {"30m": 0.0, "2h": 0.0, "24h": 0.001, "7d": 0.002}
RISKS = [
    {"node": node, "probability": probability, "drivers": [], "data_age_seconds": 5}
    for node, probability in (("node-a", ILL), ("node-b", WELL))
]
SETTINGS = """\
nodes: [{name: node-a, libvirt_uri: "qemu+tls://node-a/system"}]
state_dir: state
"""


class Installed:
    """`lifeboat` of an environment that the wheel was installed into, run in a folder away from the checkout."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.folder = folder
        self._program = environment / "bin" / "lifeboat"

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LIFEBOAT_"))}
        return subprocess.run(
            [self._program, *arguments],
            check=False,
            cwd=self.folder,
            env=clean,
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    uv = shutil.which("uv") or str(ROOT / ".tools" / "uv" / "bin" / "uv")
    if not Path(uv).exists():
        pytest.skip("uv is not at hand: ./dev brings it")
    folder = tmp_path_factory.mktemp("wheel")
    environment = folder / "environment"

    def run(*arguments: str) -> None:
        # What ./dev has installed is in uv's cache: nothing is fetched.
        done = subprocess.run(
            [uv, *arguments, "--offline"],
            check=False, cwd=ROOT, capture_output=True, text=True, timeout=300,
            env=os.environ | {"UV_PROJECT_ENVIRONMENT": str(environment), "UV_PYTHON_PREFERENCE": "only-system"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    run("sync", "--quiet", "--frozen", "--no-dev", "--no-install-project")
    run("build", "--quiet", "--wheel", "--out-dir", str(folder / "dist"))
    (wheel,) = (folder / "dist").glob("*.whl")
    run("pip", "install", "--quiet", "--no-deps", "--python", str(environment), str(wheel))
    run("pip", "check", "--quiet", "--python", str(environment))
    work = folder / "work"
    work.mkdir()
    (work / "fleet.json").write_text(json.dumps(FLEET))
    (work / "risks.json").write_text(json.dumps(RISKS))
    (work / "lifeboat.yaml").write_text(SETTINGS)
    return Installed(environment, work)


@pytest.mark.slow
def test_it_plans_from_files_and_judges_the_plan(installed: Installed) -> None:
    assert "assess" in installed("--help").stdout
    files = ("--fleet", "fleet.json", "--risks", "risks.json")
    planned = installed("plan", *files, "-o", "plan.json", "--report", "plan.html")
    assert planned.returncode == 0, planned.stderr
    (move,) = json.loads((installed.folder / "plan.json").read_text())["actions"]
    assert (move["kind"], move["target"]) == ("live_migrate", "node-b")
    assert installed("guard", "plan.json", *files).returncode == 0
    page = (installed.folder / "plan.html").read_text()
    assert "lifeboat[report]" in page
    assert "<table" in page


@pytest.mark.slow
def test_it_judges_evidence_with_the_patterns_and_signals_in_it(installed: Installed) -> None:
    logs = installed.folder / "evidence" / "nodes" / "node-a" / "logs"
    logs.mkdir(parents=True)
    (logs / "kern.log").write_text(
        "2026-11-20T11:50:00Z node-a kernel: EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0"
        " (channel:1 slot:0 page:0x1 offset:0x0 grain:32)\n"
    )
    judged = installed("assess", "--evidence", "evidence", "--json")
    assert judged.returncode == 0, judged.stderr
    (node,) = json.loads(judged.stdout)["nodes"]
    assert node["events"]


@pytest.mark.slow
def test_what_lies_beside_the_code_is_in_it(installed: Installed) -> None:
    assert installed("config", "check").returncode == 0  # the signals
    assert installed("schema", "policy").returncode == 0
    environment = installed.folder.parent / "environment"
    (packages,) = environment.glob("lib/python3*/site-packages")
    for folder in ("agent", "models", "tools", "prompts", "lab"):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert (packages / file.relative_to(ROOT)).exists()
    shipped = packages / "agent" / "evals" / "shipped"
    for kind in ("scenes", "fleets"):
        there = {path.name for path in (shipped / kind).iterdir()}
        assert {path.name for path in (ROOT / "tests" / "evals" / kind).iterdir()} == there


@pytest.mark.slow
def test_what_it_lacks_is_one_line_that_names_the_extra(installed: Installed) -> None:
    files = ("--fleet", "fleet.json", "--risks", "risks.json")
    for arguments, extra in {
        ("train", "nowhere", "--horizon", "7d", "-o", "model"): "forecast",
        ("eval", "--model", "m", "--base-url", "http://127.0.0.1:1/v1"): "llm",
        ("run", "--once"): "libvirt",
        ("assess", "--config", "metrics.yaml"): "libvirt",
    }.items():
        (installed.folder / "metrics.yaml").write_text(f"{SETTINGS}prometheus: {{url: 'http://127.0.0.1:1'}}\n")
        refused = installed(*arguments)
        assert refused.returncode == 2
        assert f"lifeboat[{extra}]" in refused.stderr
        assert refused.stderr.count("\n") == 1

    (installed.folder / "full.yaml").write_text(
        f"{SETTINGS}"
        "llm: {base_url: 'http://127.0.0.1:1/v1', model: m}\n"
        "slack: {channel: C024BE91L, bot_token_file: fleet.json, app_token_file: fleet.json}\n"
        "forecast: {model: model}\n"
        "otel: {endpoint: 'http://127.0.0.1:4318'}\n"
    )
    checked = installed("config", "check", "--config", "full.yaml")
    assert checked.returncode == 2
    assert [f"lifeboat[{extra}]" in checked.stderr for extra in ("llm", "slack", "forecast", "otel")] == [True] * 4
    stood_in = installed("plan", *files, "--planner", "llm", "--config", "full.yaml")
    assert stood_in.returncode == 0, stood_in.stderr
    assert "lifeboat[llm]" in stood_in.stderr


def test_every_extra_says_which_modules_are_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        name: {wanted.partition(">")[0].partition("[")[0] for wanted in packages}
        for name, packages in project["optional-dependencies"].items()
    }
    del extras["all"]
    assert extras.keys() == EXTRAS.keys()
    brought_by = packages_distributions()
    for name, extra in EXTRAS.items():
        for module in extra.modules:
            for distribution in brought_by.get(module, ()):  # ray is not installed everywhere
                assert {distribution.lower(), "slack-bolt", "langchain"} & extras[name]
