"""A model of the fleet's own in the risk: what it changes, what it says it stands on, and that nothing of it can stop a look."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scenes.fleet_history import QUICK
from scenes.fleet_history import frames as other_fleet
from scenes.watched_fleet import CATALOGUE, DAY, HOUR, SIGNAL, START, Outage, hours

from agent.assess.assess import assess
from agent.assess.learned_models import LearnedModels
from agent.observe.observation import Observation
from agent.settings import Settings
from models.errors import ModelInvalid
from models.fleet import Fleet, Node
from models.forecast.data.dataset import DAY as MICRO_DAY
from models.forecast.data.dataset import build
from models.forecast.history.lives import failures, lives, tables
from models.forecast.learned.serialise import FORMAT
from models.forecast.learned.train import train
from models.risk.risk import Risk
from models.risk.signal import SignalHistory, Summaries
from tools.forecast.model_files import save_model
from tools.history.store import HistoryStore

NODES = [f"n{k:02}" for k in range(24)]
ILL = {node: 0.05 + 0.01 * k for k, node in enumerate(NODES[:9])}
LAST = START + 15 * DAY
WELL, SICK = "n23", "n08"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state_dir with fifteen days of history, and a signed model of its own in it."""
    state = tmp_path_factory.mktemp("state")
    store = HistoryStore(state / "history", CATALOGUE)
    # All but the last of the ill have failed already; of that one the disk goes on getting worse.
    outages = [
        Outage(n, START + (6 + k) * DAY + 5000, START + (6 + k) * DAY + 9000) for k, n in enumerate(list(ILL)[:-1])
    ]
    for begin in range(START, LAST, DAY):
        times = range(begin + HOUR, begin + DAY + 1, HOUR)
        store.append(hours(NODES, times, errors=ILL, outages=outages), times, NODES, [])
    past = store.read()
    data = build(tables(past, lives(past), failures(past)))
    model = train(data, [MICRO_DAY, 2 * MICRO_DAY], settings=replace(QUICK, trees=4, fewest_healthy=300))
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (state / "key.pem").write_bytes(secret)
    (state / "key.pub").write_bytes(public)
    save_model(state / "own.lifeboat", model, key=state / "key.pem")
    save_model(state / "unsigned.lifeboat", model)
    return state


def look(at: float, nodes: Sequence[str] = NODES, histories: Sequence[SignalHistory] = ()) -> Observation:
    now = datetime.fromtimestamp(at, UTC)
    fleet = Fleet(observed_at=now, nodes=tuple(Node(name=n, memory_bytes=1 << 34, cpus=8) for n in nodes), vms=())
    return Observation(at=now, fleet=fleet, histories=tuple(histories))


def models(state: Path, **forecast: object) -> LearnedModels:
    return LearnedModels(Settings.model_validate({"state_dir": str(state), "forecast": forecast}), CATALOGUE)


def risks(learned: LearnedModels, seen: Observation) -> dict[str, Risk]:
    said = learned.of(seen)
    return {risk.node: risk for risk in assess(seen, CATALOGUE, seen.at, learned=said)}


def unknown(risk: Risk) -> tuple[str, ...]:
    """What the learned forecasts can't say of it."""
    return tuple(line for line in risk.unknown if "no signal of it was reported" not in line)


def test_the_fleets_own_failures_are_in_the_risk_and_in_what_it_stands_on(lived: Path) -> None:
    learned = models(lived, model=str(lived / "own.lifeboat"), trusted_key=str(lived / "key.pub"))
    learned.check()
    found, plain = risks(learned, look(LAST + 1200)), {r.node: r for r in assess(look(LAST), CATALOGUE, look(LAST).at)}
    assert found[SICK].probability["24h"] > 5 * plain[SICK].probability["24h"]
    assert found[WELL].probability["24h"] < 0.5 * found[SICK].probability["24h"]
    ours = found[SICK]
    assert ours.model.startswith("limits-1+")
    name = ours.model.removeprefix("limits-1+")
    assert f"this fleet's own 8 failures until 2025-12-16 (model {name}), which counts 29 %" in ours.basis
    assert ours.basis.startswith("documented limits")
    told = [d.why for d in ours.drivers if d.why.startswith("learned: ")]
    assert told
    assert all(" within 2 d " in why and "without it" in why for why in told)
    assert "nothing here was learned" in plain[WELL].basis


def test_a_model_that_no_longer_fits_says_so_beside_what_limits_alone_give(lived: Path, tmp_path: Path) -> None:
    """Every node's rails read a volt lower from the next hour on, as after a change of sensors."""
    shutil.copytree(lived / "history", tmp_path / "history")
    times = range(LAST + HOUR, LAST + 6 * HOUR + 1, HOUR)
    new = hours(NODES, times)
    rails = new["psu_12v_volts"]
    lower = rails.values - np.array([1.0, 1.0, 1.0, 1.0, 0.0])[:, None, None]
    new["psu_12v_volts"] = Summaries(rails.signal, rails.times, rails.parts, lower)
    HistoryStore(tmp_path / "history", CATALOGUE).append(new, times, NODES, [])
    fits = risks(models(lived, model=str(lived / "own.lifeboat")), look(LAST))[WELL]
    moved = risks(models(tmp_path, model=str(lived / "own.lifeboat")), look(times[-1]))[WELL]
    assert fits.misfit == ""
    assert "psu_12v_volts" in moved.misfit
    assert moved.misfit.startswith("model ")
    (alone,) = (risk for risk in assess(look(LAST), CATALOGUE, look(LAST).at) if risk.node == WELL)
    assert moved.grounded == pytest.approx(alone.probability)


def test_acute_evidence_comes_first_and_is_not_diluted(lived: Path) -> None:
    times = np.arange(LAST - 7200.0, LAST + 1.0, 60.0)
    volts = np.where(times > LAST - 300, 11.2, 12.1)
    seen = look(LAST, histories=[SignalHistory(SIGNAL["psu_12v_volts"], SICK, "PSU1 12V", times, volts)])
    (alone,) = (r for r in assess(seen, CATALOGUE, seen.at) if r.node == SICK)
    both = risks(models(lived, model=str(lived / "own.lifeboat")), seen)[SICK]
    assert both.probability["2h"] >= alone.probability["2h"] > 0.9
    assert both.drivers[0].signal == "psu_12v_volts"
    assert both.drivers[-1].why.startswith("learned: ")


def test_a_model_file_that_changes_is_read_again(lived: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.lifeboat"
    learned = models(lived, model=str(path))
    assert "cannot be read" in unknown(risks(learned, look(LAST))[WELL])[0]
    shutil.copy(lived / "own.lifeboat", path)
    assert "this fleet's own 8 failures" in risks(learned, look(LAST))[WELL].basis
    path.write_bytes(path.read_bytes()[:-100])
    broken = risks(learned, look(LAST))[WELL]
    assert broken.model == "limits-1"
    assert any(line.startswith("learned forecast: ") and "SHA-256 does not match" in line for line in broken.unknown)


def _older(data: bytes) -> bytes:
    return data.replace(b"lifeboat-model %d" % FORMAT, b"lifeboat-model 1", 1)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("unsigned.lifeboat", None, "carries no signature, and a trusted key was given"),
        ("own.lifeboat", _older, "is of format 1"),
        ("own.lifeboat", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "truncated or was altered"),
        ("nowhere", None, "cannot be read"),
    ],
)
def test_a_model_that_cant_be_used_is_named_and_the_limits_carry_on(
    lived: Path, tmp_path: Path, file: str, change: object, said: str
) -> None:
    path = tmp_path / "model"
    if (lived / file).exists():
        data = (lived / file).read_bytes()
        path.write_bytes(change(data) if callable(change) else data)
    learned = models(lived, model=str(path), trusted_key=str(lived / "key.pub"))
    found = risks(learned, look(LAST))
    assert {risk.model for risk in found.values()} == {"limits-1"}
    (line,) = (line for line in found[SICK].unknown if line.startswith("learned forecast"))
    assert said in line
    assert "\n" not in line
    with pytest.raises(ModelInvalid, match=said):
        learned.check()


def test_a_model_about_another_kind_of_fleet_says_so(lived: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "m", train(build(other_fleet(40)), [7 * MICRO_DAY], settings=replace(QUICK, trees=2)))
    (line,) = unknown(risks(models(lived, model=str(tmp_path / "m")), look(LAST))[WELL])
    assert line == (
        "learned forecast: the model needs errors, temperature, power_on_hours, which nothing here reports: 3 of its 3 signals"
    )


@pytest.mark.parametrize(
    ("state", "at", "node", "said"),
    [
        ("", LAST, WELL, "there is no history yet; `lifeboat run` keeps it, from its first hour on"),
        ("lived", LAST + 3 * DAY, WELL, "the history ends 3 d ago: is `lifeboat run` at work?"),
        ("lived", LAST, "stranger", "the history holds nothing of it yet"),
    ],
)
def test_what_nobody_remembers_is_unknown(
    lived: Path, tmp_path: Path, state: str, at: float, node: str, said: str
) -> None:
    where = lived if state else tmp_path
    settings = Settings.model_validate({"state_dir": str(where), "forecast": {"model": str(lived / "own.lifeboat")}})
    risk = risks(LearnedModels(settings, CATALOGUE), look(at, [*NODES, "stranger"]))[node]
    assert unknown(risk) == (f"learned forecast: {said}",)
    assert risk.model == "limits-1"


def test_a_damaged_history_stops_no_look(lived: Path, tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history/state.npz").write_bytes(b"rubbish")
    settings = Settings.model_validate({"state_dir": str(tmp_path), "forecast": {"model": str(lived / "own.lifeboat")}})
    (line,) = unknown(risks(LearnedModels(settings, CATALOGUE), look(LAST))[WELL])
    assert "history" in line
    assert "can't be read" in line


def drives() -> dict[str, pl.DataFrame]:
    """Drives as public data has them: those that reallocate sectors fail."""
    random = np.random.default_rng(3)
    begin = datetime(2014, 1, 1, tzinfo=UTC).timestamp()
    units, rows, failed = [], [], []
    for number in range(400):
        sick, name = number % 8 == 0, f"drive-{number}"
        last = float(random.integers(40, 110)) if sick else 120.0
        for day in range(0, int(last), 1 if sick else 20):
            sectors = float(max(0, day - last + 30) * 4) if sick else 0.0
            rows.append({"unit": name, "time": begin + day * DAY, "smart_5": sectors, "smart_197": 0.0,
                         "power_on_hours": 1000.0 + 24 * day})  # fmt: skip
        units.append({"unit": name, "observed_from": begin, "observed_until": begin + last * DAY})
        failed += [{"unit": name, "failed_at": begin + last * DAY}] if sick else []

    def dated(rows: list[dict[str, object]], *columns: str) -> pl.DataFrame:
        frame = pl.DataFrame(rows)
        return frame.with_columns(pl.from_epoch(pl.col(c).cast(pl.Int64)).dt.replace_time_zone("UTC") for c in columns)

    return {
        "units": dated(units, "observed_from", "observed_until"),
        "telemetry": dated(rows, "time"),
        "failures": dated(failed, "failed_at"),
    }


@pytest.mark.slow
def test_a_model_of_drives_speaks_of_each_nodes_disks(lived: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "drives", train(build(drives()), [30 * MICRO_DAY], settings=QUICK))
    times = np.array([LAST - 60.0, LAST])
    disks = [
        SignalHistory(SIGNAL["disk_reallocated_sectors"], node, part, times, np.zeros(2))
        for node in NODES
        for part in ("sda", "sdb", "nvme0")
    ]
    learned = models(lived, components={"storage": str(tmp_path / "drives")})
    found = risks(learned, look(LAST, histories=disks))
    sick, well = found[SICK], found[WELL]
    assert sick.probability["7d"] > 3 * well.probability["7d"]
    day, week = (math.log1p(-sick.probability[h]) for h in ("24h", "7d"))
    assert 7 * day == pytest.approx(week), "constant hazard below the model's 30 days"
    assert "storage: 50 failures until 2014-0" in sick.basis
    assert any("smart_5" in driver.why and "learned" in driver.why for driver in sick.drivers)
    assert not any("without it" in driver.why for driver in well.drivers)
    mute = risks(models(lived, components={"storage": str(tmp_path / "drives")}), look(LAST))[WELL]
    assert "storage" not in mute.basis, "no disk reports: nothing to say"


@pytest.mark.slow
def test_what_stands_in_for_a_drive_and_what_an_array_lacks_decide_what_its_failure_means(
    lived: Path, tmp_path: Path
) -> None:
    save_model(tmp_path / "drives", train(build(drives()), [30 * MICRO_DAY], settings=QUICK))
    times = np.array([LAST - 60.0, LAST])
    disks = [
        SignalHistory(SIGNAL["disk_reallocated_sectors"], SICK, p, times, np.zeros(2)) for p in ("sda", "sdb", "nvme0")
    ]
    degraded = SignalHistory(SIGNAL["raid_missing_disks"], SICK, "md0", times, np.ones(2))
    (tmp_path / "policy.yaml").write_text(
        "storage: {arrays: [{disks: [nvme0, sdb], level: raid1, members: 2, name: md0, holds: guests}]}"
    )

    def week(policy: Path | None, *more: SignalHistory) -> tuple[float, Risk]:
        settings = Settings.model_validate(
            {
                "state_dir": str(lived),
                "policy_file": policy,
                "forecast": {"components": {"storage": str(tmp_path / "drives")}},
            }
        )
        risk = risks(LearnedModels(settings, CATALOGUE), look(LAST, histories=[*disks, *more]))[SICK]
        return risk.probability["7d"], risk

    alone, _ = week(None)
    mirrored, risk = week(tmp_path / "policy.yaml")
    assert mirrored < 0.5 * alone
    assert any("one of 2 drives (raid1, guests)" in driver.why for driver in risk.drivers)
    one_missing, gone = week(tmp_path / "policy.yaml", degraded)
    assert one_missing >= alone, "with nothing left to stand in, each counts as if alone"
    assert any("1 missing" in driver.why for driver in gone.drivers)
